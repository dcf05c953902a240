"""The arithmetic of the benchmarks: ratios within pairs, medians, bands, what a goal says of them."""

import pytest

from benchmarks.figures import Band, Figure, Goal, Pair, band_of, judge, summary_of
from benchmarks.growth import slopes


def figure(seconds: float, mib: float = 10.0) -> Figure:
    """A run which took these seconds of wall time and half of them of CPU."""
    return Figure(seconds, seconds / 2, mib, mib + 20)


def summary(*seconds: tuple[float, float], goal: Goal = Goal(), start: Figure | None = None):  # noqa: B008 - frozen
    """Of pairs of (job, base)."""
    return summary_of([Pair(figure(job), figure(base), start) for job, base in seconds], goal)


@pytest.mark.parametrize(
    ("values", "band"),
    [
        ([2.0], (2.0, 2.0, 2.0)),
        ([1.0, 2.0], (1.25, 1.5, 1.75)),
        ([3.0, 1.0, 2.0], (1.5, 2.0, 2.5)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], (2.0, 3.0, 4.0)),
        ([1.0, 1.0, 1.0, 1.0, 100.0], (1.0, 1.0, 1.0)),  # one round which was disturbed moves nothing
    ],
)
def test_a_band_is_the_median_between_the_quartiles(values, band):
    assert band_of(values) == Band(*band)


def test_a_ratio_is_taken_within_its_pair():
    # A slow round slows both: by the medians of each the ratio would be 4 / 2.
    assert summary((1.0, 1.0), (4.0, 4.0), (20.0, 2.0)).wall.middle == 1.0


@pytest.mark.parametrize(
    ("goal", "start", "wall", "cpu"),
    [
        (Goal(), None, 3.0, 3.0),
        (Goal(allowance=0.5), None, 2.75, 2.5),  # of 6 s against 2, and of 3 s of CPU against 1
        (Goal(net=True), figure(4.0), 1.0, 1.0),
        (Goal(), figure(4.0), 3.0, 3.0),  # a start which is there for its memory alone
        (Goal(net=True), None, 3.0, 3.0),
    ],
)
def test_what_a_goal_takes_off_is_taken_off_the_job(goal, start, wall, cpu):
    found = summary((6.0, 2.0), goal=goal, start=start)
    assert (found.wall.middle, found.cpu.middle) == (wall, cpu)


def test_medians_of_seconds_and_highest_peaks_are_kept():
    pairs = [Pair(figure(1.0, 30), figure(9.0, 2), figure(1.0, 4)), Pair(figure(2.0, 50), figure(7.0, 3), figure(1.0, 6))]
    found = summary_of(pairs, Goal())
    assert (found.wall_seconds, found.cpu_seconds, found.base_wall_seconds, found.base_cpu_seconds) == (1.5, 0.75, 8.0, 4.0)
    assert (found.anonymous, found.resident, found.base_anonymous, found.anonymous_above_start, found.rounds) == (50, 70, 3, 44, 2)


def test_a_base_without_time_divides_nothing_by_zero():
    assert summary((1.0, 0.0)).wall.middle == 1e6


@pytest.mark.parametrize(
    ("goal", "control", "states"),
    [
        (Goal(), None, []),
        (Goal(wall=2.0, cpu=2.0), None, [("CPU", "met"), ("wall", "met")]),
        (Goal(wall=1.9, cpu=1.9), None, [("CPU", "missed"), ("wall", "missed")]),
        (Goal(wall=1.9, cpu=1.9), Band(0.9, 1.0, 1.1), [("CPU", "missed"), ("wall", "in the band")]),  # noise excuses wall alone
        (Goal(wall=1.9), Band(0.8, 0.9, 0.95), [("wall", "missed")]),  # a control below 1 makes no goal harder
        (Goal(wall=1.0), Band(0.9, 1.0, 1.1), [("wall", "missed")]),
        (Goal(cpu_seconds=0.9, anonymous=9), None, [("CPU s", "missed"), ("MiB", "missed")]),
        (Goal(cpu_seconds=1.0, anonymous=10), None, [("CPU s", "met"), ("MiB", "met")]),
    ],
)
def test_each_limit_gets_a_verdict(goal, control, states):
    assert [(verdict.measure, verdict.state) for verdict in judge(goal, summary((2.0, 1.0)), control)] == states


@pytest.mark.parametrize(
    ("measured", "expected"),
    [([], []), ([(5, 1.0)], []), ([(1, 2.0), (3, 6.0)], [2.0]), ([(10, 1.0), (20, 1.0), (40, 5.0)], [0.0, 0.2])],
)
def test_a_slope_is_the_cost_of_one_more(measured, expected):
    assert slopes(measured) == expected
