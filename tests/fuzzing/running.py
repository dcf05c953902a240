"""Runs a target over many inputs in several processes; a process which dies is a finding like any other."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from chance import Chance
from judging import Judge, import_all
from targets import TARGETS

__all__ = ["Figures", "Job", "files_of", "run"]

# What a reader may take on top of what is there when it starts; bytes.
_MEMORY = 256 * 1024 * 1024
_WARM_INPUTS = 300
_MOST_VIOLATIONS = 20  # kept of each process
_PROGRESS = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs `first`, `first + step`, ... below `end` of a target."""

    target: str
    seed: int
    first: int
    end: int
    step: int = 1

    @property
    def numbers(self) -> range:
        """Which inputs."""
        return range(self.first, self.end, self.step)

    def shares(self, count: int) -> list[Job]:
        """The job cut for `count` processes."""
        return [Job(self.target, self.seed, self.first + index, self.end, count) for index in range(count)]


@dataclass
class Figures:
    """What came of a job. outcomes, agreements, reasons: how often each; violations: (number of the input, what)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    agreements: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], int] = field(default_factory=dict)
    violations: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.outcomes.total()

    def add(self, other: Figures) -> None:
        """Take in the figures of another process."""
        self.outcomes += other.outcomes
        self.agreements += other.agreements
        self.reasons += other.reasons
        self.examples = other.examples | self.examples
        self.violations = sorted([*self.violations, *other.violations])


def files_of(target: str, seed: int, number: int) -> Mapping[str, bytes]:
    """One input, made anew."""
    return TARGETS[target].make(Chance(f"{target}/{seed}/{number}"))


def run(job: Job, processes: int) -> Figures:
    """All inputs of a job; progress goes to stderr."""
    import_all()
    next(_made(job, "warm", range(1)))  # makes the real files, which the processes then share
    context = multiprocessing.get_context("fork")
    places = context.Array("q", [job.first] * processes, lock=False)
    figures, started = Figures(), time.monotonic()
    running: list[tuple[Any, Connection]] = []
    for index, share in enumerate(job.shares(processes)):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(share, places, index, sender), daemon=True)
        process.start()
        sender.close()
        running.append((process, receiver))
    for index, (process, receiver) in enumerate(running):
        while not receiver.poll(_PROGRESS):
            _tell(job, max(places) - job.first, time.monotonic() - started)
        figures.add(_result(process, receiver, places[index]))
    figures.seconds = time.monotonic() - started
    return figures


def _result(process: Any, receiver: Connection, place: int) -> Figures:
    try:
        found: Figures = receiver.recv()
    except EOFError:
        process.join()
        return Figures(violations=[(place, f"the process died with exit code {process.exitcode}")])
    process.join()
    return found


def _tell(job: Job, done: int, seconds: float) -> None:
    sys.stderr.write(f"{job.target}: {done:,} of {job.end - job.first:,}, {done / seconds:,.0f} inputs/s\n")
    sys.stderr.flush()


def _work(job: Job, places: Any, index: int, sender: Connection) -> None:
    warnings.simplefilter("ignore")  # the references warn of what an input holds
    sender.send(_judged(job, places, index))
    sender.close()


def _judged(job: Job, places: Any, index: int) -> Figures:
    target = TARGETS[job.target]
    judge = Judge(target)
    for files in _made(job, "warm", range(_WARM_INPUTS)):
        judge.warm(files)
    _bound_memory()
    figures = Figures()
    for number, files in zip(job.numbers, _made(job, str(job.seed), job.numbers), strict=True):
        places[index] = number
        verdict = judge.judge(files, is_shown=number % target.shown == 0)
        figures.outcomes[verdict.outcome] += 1
        if verdict.agreement:
            figures.agreements[verdict.agreement] += 1
        if verdict.why:
            figures.reasons[verdict.agreement, verdict.why] += 1
            figures.examples.setdefault((verdict.agreement, verdict.why), number)
        if verdict.violations and len(figures.violations) < _MOST_VIOLATIONS:
            figures.violations += [(number, what) for what in verdict.violations]
    return figures


def _made(job: Job, seed: str, numbers: range) -> Iterator[Mapping[str, bytes]]:
    make = TARGETS[job.target].make
    return (make(Chance(f"{job.target}/{seed}/{number}")) for number in numbers)


def _bound_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
