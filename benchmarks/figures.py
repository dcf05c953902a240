"""What is computed from the measured runs: ratios within a pair, medians, bands, and what a goal says of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

__all__ = ["Band", "Figure", "Goal", "Pair", "Summary", "Verdict", "band_of", "judge", "summary_of"]

_LEAST_SECONDS = 1e-6  # a base which took no time that the kernel counts


@dataclass(frozen=True, slots=True)
class Figure:
    """One run: wall and CPU time in seconds, peaks of anonymous and of all resident memory in MiB."""

    wall: float
    cpu: float
    anonymous: float
    resident: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A job and its base in the same round; `start`: the run which is taken off the job, where there is one."""

    job: Figure
    base: Figure
    start: Figure | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """The lower quartile, the median and the upper quartile."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that a job may take; None: whatever it takes.

    wall, cpu: times its base, `allowance` seconds taken off first. net: the time of the row's `start` is taken off too.
    cpu_seconds: of CPU. anonymous: MiB; above the row's `start`, where it has one.
    """

    wall: float | None = None
    cpu: float | None = None
    allowance: float = 0.0
    net: bool = False
    cpu_seconds: float | None = None
    anonymous: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A row over all rounds: bands of ratios, less what the goal takes off; medians in seconds; peaks in MiB."""

    wall: Band
    cpu: Band
    wall_seconds: float
    cpu_seconds: float
    base_wall_seconds: float
    base_cpu_seconds: float
    anonymous: float
    resident: float
    base_anonymous: float
    anonymous_above_start: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found against one limit; `state`: `met`, `in the band` of the control, or `missed`."""

    measure: str
    limit: float
    found: float
    state: str


def band_of(values: Sequence[float]) -> Band:
    """Median and quartiles, between the values where none lies there. Raises statistics.StatisticsError for no value."""
    if len(values) == 1:
        return Band(values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Band(low, middle, high)


def summary_of(pairs: Sequence[Pair], goal: Goal) -> Summary:
    """All rounds of a row. A ratio is taken within each pair, so what slows a whole round down slows both."""
    jobs, bases = [pair.job for pair in pairs], [pair.base for pair in pairs]
    anonymous = max(job.anonymous for job in jobs)
    starts = [pair.start.anonymous for pair in pairs if pair.start is not None]
    return Summary(
        wall=band_of([_ratio(pair, "wall", goal) for pair in pairs]),
        cpu=band_of([_ratio(pair, "cpu", goal) for pair in pairs]),
        wall_seconds=median(job.wall for job in jobs),
        cpu_seconds=median(job.cpu for job in jobs),
        base_wall_seconds=median(base.wall for base in bases),
        base_cpu_seconds=median(base.cpu for base in bases),
        anonymous=anonymous,
        resident=max(job.resident for job in jobs),
        base_anonymous=max(base.anonymous for base in bases),
        anonymous_above_start=anonymous - max(starts, default=0.0),
        rounds=len(pairs),
    )


def judge(goal: Goal, found: Summary, control: Band | None) -> list[Verdict]:
    """One verdict for each limit of a goal. Wall is read against the control's band: what its noise explains is no miss."""
    noise = 1.0 if control is None else max(control.high, 1.0)
    limits = [
        ("CPU", goal.cpu, found.cpu.middle, 1.0),
        ("CPU s", goal.cpu_seconds, found.cpu_seconds, 1.0),
        ("wall", goal.wall, found.wall.middle, noise),
        ("MiB", goal.anonymous, found.anonymous_above_start, 1.0),
    ]
    return [Verdict(measure, limit, value, _state(value, limit, noise)) for measure, limit, value, noise in limits if limit is not None]


def _ratio(pair: Pair, field: str, goal: Goal) -> float:
    start = getattr(pair.start, field) if goal.net and pair.start is not None else 0.0
    job, base = float(getattr(pair.job, field)), float(getattr(pair.base, field))
    return (job - start - goal.allowance) / max(base, _LEAST_SECONDS)


def _state(found: float, limit: float, noise: float) -> str:
    if found <= limit:
        return "met"
    return "in the band" if found <= limit * noise else "missed"
