"""`make faults`: lets everything go wrong which can be made to, and counts. Ends with 1 where a promise was broken."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fault_contention
import fault_disks
import fault_injection
import fault_power
import fault_signals
import fault_space
from fault_edits import EDITS, staged
from fault_scenarios import SCENARIOS, Scenario

WORKERS = 2
ALL = (*SCENARIOS, *EDITS)
SIGNAL_ROUNDS, CONTENTION_ROUNDS = 10, 200
Found = tuple[int, list[str]]


def main() -> int:
    """Run all parts and print what each of them counted."""
    home = Path(tempfile.mkdtemp(prefix="ckpt-surgeon-faults-"))
    total, broken = 0, 0
    try:
        for title, part in _parts(home):
            start = time.monotonic()
            count, found = part()
            total, broken = total + count, broken + len(found)
            _say(f"{title}: {count}, {len(found)} violations, {time.monotonic() - start:.0f} s")
            for each in found:
                _say(f"  VIOLATION {each}")
    finally:
        shutil.rmtree(home)
    _say(f"{total} injections, {broken} violations")
    return 1 if broken else 0


def _parts(home: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Title -> what runs it; where this machine lacks something, a line says so."""
    if reason := fault_injection.why_not():
        _say(f"SKIPPED, every system call: {reason}")
    else:
        yield from ((f"every system call, {each.name}", lambda each=each: _inject(home, each)) for each in ALL)
    if reason := fault_disks.why_not(home):
        _say(f"SKIPPED, power cuts and full disks: {reason}")
    else:
        yield from ((f"power cuts, {each.name}", lambda each=each: _cut(home, each)) for each in ALL)
        yield from ((f"full disks, {each.name}", lambda each=each: fault_space.violations(_fresh(home), each)) for each in ALL)
    yield from ((f"signals at random moments, {each.name}", lambda each=each: _signal(home, each)) for each in (*SCENARIOS[:-1], *EDITS))
    yield from ((f"8 writers and 4 readers, {out}", lambda out=out: _contend(home, out)) for out in ("out.safetensors", "shards"))


def _inject(home: Path, scenario: Scenario) -> Found:
    with ProcessPoolExecutor(WORKERS) as pool:
        done = list(pool.map(_inject_share, [_fresh(home) for _ in range(WORKERS)], [scenario] * WORKERS, range(WORKERS)))
    return sum(count for count, _ in done), [each for _, found in done for each in found]


def _inject_share(folder: Path, scenario: Scenario, share: int) -> Found:
    stage = staged(folder, scenario)
    injections = fault_injection.injections(stage)[share::WORKERS]
    return len(injections), [each for injection in injections for each in injection.violations(stage)]


def _cut(home: Path, scenario: Scenario) -> Found:
    done = [fault_power.violations(_fresh(home), scenario, habit) for habit in fault_power.HABITS]
    return sum(count for count, _ in done), [each for _, found in done for each in found]


def _signal(home: Path, scenario: Scenario) -> Found:
    stage, chance = fault_signals.stage_of(_fresh(home), scenario), random.Random(0)
    found = [fault_signals.violations(stage, number, chance) for number in fault_signals.SIGNALS for _ in range(SIGNAL_ROUNDS)]
    return len(found), [each for broken in found for each in broken]


def _contend(home: Path, out: str) -> Found:
    counts, found = fault_contention.violations(_fresh(home) / "folder", out, CONTENTION_ROUNDS)
    _say(f"  {counts['published']} times published, {counts['locked']} times turned away, {counts['read']} times read")
    return counts["published"] + counts["locked"], found


def _fresh(home: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=home))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
