"""Run the rows: each once to see that its outcome is right, then in interleaved rounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from benchmarks.data import Place
from benchmarks.figures import Figure, Pair, Summary, Verdict, judge, summary_of
from benchmarks.measuring import Job, JobError, remove, run
from benchmarks.rows import Row

__all__ = ["Result", "Say", "measure"]

Say = Callable[[str], None]

_BLOCK, _BLOCKS = 4096, 256  # what of an output tells it from another: bytes, and how many blocks of them


@dataclass(frozen=True, slots=True)
class Result:
    """A row and what came of it; without a summary, `reason` says why: it was `skipped`, or it is `wrong`."""

    row: Row
    state: str
    reason: str = ""
    summary: Summary | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class _Judge:
    """Runs jobs and lets only right outcomes count. An output whose like was checked before is not checked again."""

    seen: dict[Job, set[str]] = field(default_factory=dict)

    def run(self, job: Job) -> Figure:
        """Raises JobError."""
        try:
            figure = run(job)
            self._check(job)
        finally:
            remove(job.output)
        return figure

    def _check(self, job: Job) -> None:
        if job.output is None or job.check is None:
            return
        mark = _mark(Path(job.output))
        if mark in self.seen.setdefault(job, set()):
            return
        wrong = job.check.wrong(job.output)
        if wrong is not None:
            raise JobError(f"its output is wrong: {wrong}")
        self.seen[job].add(mark)


def measure(rows: Sequence[Row], place: Place, rounds: int, say: Say) -> list[Result]:
    """Every row `rounds` times; all rows take turns, so what disturbs the machine for a while disturbs all of them alike."""
    trust, ended, pairs = _Judge(), dict[int, Result](), dict[int, list[Pair]]()
    for k, row in enumerate(rows):
        say(f"trying {row.group}: {row.name}")
        result = _tried(row, place, trust)
        if result is not None:
            ended[k] = result
    for i in range(rounds):
        say(f"round {i + 1} of {rounds}")
        for k in [k for k in range(len(rows)) if k not in ended]:
            try:
                pairs.setdefault(k, []).append(_pair(rows[k], trust, base_first=i % 2 == 0))
            except JobError as error:
                ended[k] = Result(rows[k], "wrong", str(error))
    summaries = {k: summary_of(found, rows[k].goal) for k, found in pairs.items() if k not in ended}
    controls = {rows[k].base.name: summary.wall for k, summary in reversed(summaries.items()) if rows[k].group == "control"}
    for k, summary in summaries.items():
        verdicts = judge(rows[k].goal, summary, controls.get(rows[k].base.name))
        ended[k] = Result(rows[k], "measured", summary=summary, verdicts=tuple(verdicts))
    return [ended[k] for k in range(len(rows))]


def _tried(row: Row, place: Place, trust: _Judge) -> Result | None:
    """One run of everything in a row, which warms what can be warm; the row's result where it ends there."""
    lacking = row.need.lacking() if row.need is not None else None
    if lacking is not None:
        return Result(row, "skipped", lacking)
    for data in row.data:
        place.make(data)
    try:
        trust.run(row.base)
    except (JobError, OSError) as error:
        return Result(row, "skipped", f"its base, {row.base.name}: {error}")
    try:
        _pair(row, trust, base_first=True)
    except JobError as error:
        return Result(row, "wrong", str(error))
    return None


def _pair(row: Row, trust: _Judge, base_first: bool) -> Pair:
    start = None if row.start is None else trust.run(row.start)
    if base_first:
        base = trust.run(row.base)
        return Pair(trust.run(row.job), base, start)
    job = trust.run(row.job)
    return Pair(job, trust.run(row.base), start)


def _mark(path: Path) -> str:
    """Sizes, names and sampled blocks of a file or of those in a folder: our outputs are the same bytes each time."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
            with file.open("rb") as opened:
                _sample(opened, file.stat().st_size, digest.update)
    return digest.hexdigest()


def _sample(file: BinaryIO, size: int, take: Callable[[bytes], None]) -> None:
    step = max(size // _BLOCKS, _BLOCK)
    for offset in range(0, size, step):
        take(os.pread(file.fileno(), _BLOCK, offset))
    take(os.pread(file.fileno(), _BLOCK, max(size - _BLOCK, 0)))
