"""Structure-aware fuzzing of everything which reads a stranger's bytes: `python tests/fuzzing [--inputs N] [--seed S] [--only NAME]`.

Each input is made from the target's name, the seed and its number alone. Whatever comes out has to be a value or a designed refusal,
in time, in memory, with nothing imported, called or written; and what the field's own reader takes, too, has to be the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: each process has a core of its own

from running import Figures, Job, files_of, run
from targets import TARGETS

_MOST_REASONS = 12  # classes of disagreement which are listed
_MOST_VIOLATIONS = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzzing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input; with --inputs 1 it is made and judged alone")
    parser.add_argument("--only", choices=list(TARGETS), action="append", help="a target; may be given several times")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--findings", type=Path, default=Path("build/fuzzing"), help="folder for dumps of what is found (default: %(default)s)"
    )
    options = parser.parse_args()
    found = 0
    for name in options.only or TARGETS:
        job = Job(name, options.seed, options.first, options.first + options.inputs)
        figures = run(job, min(options.processes, options.inputs))
        _say(report(name, figures))
        found += len(figures.violations)
        for number, what in figures.violations[:_MOST_VIOLATIONS]:
            _say(f"  VIOLATION {what}\n    {reproduction(job, number, options.findings)}")
    _say(f"{found} violations")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(name: str, figures: Figures) -> str:
    """A line of figures, one for each outcome and agreement, and the most frequent classes of disagreement."""
    speed = figures.inputs / figures.seconds if figures.seconds else 0
    lines = [f"{name}: {figures.inputs:,} inputs, {figures.seconds:,.0f} s, {speed:,.0f} inputs/s, {len(figures.violations)} violations"]
    for title, counts in (("", figures.outcomes), ("with the reference: ", figures.agreements)):
        if counts:
            lines.append(f"  {title}" + ", ".join(f"{word} {count:,}" for word, count in counts.most_common()))
    for (side, why), count in figures.reasons.most_common(_MOST_REASONS):
        lines.append(f"  {side} {count:,} (input {figures.examples[side, why]}): {why}")
    return "\n".join(lines)


def reproduction(job: Job, number: int, folder: Path) -> str:
    """The command which makes an input again; its bytes lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.target}-{job.seed}-{number}.hex"
    path.write_text("".join(f"{name} {data.hex()}\n" for name, data in files_of(job.target, job.seed, number).items()), encoding="utf-8")
    return f"python tests/fuzzing --only {job.target} --seed {job.seed} --first {number} --inputs 1    # {path}"


if __name__ == "__main__":
    sys.exit(main())
