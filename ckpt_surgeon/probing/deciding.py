"""Which of a group's ways a run speaks for: all are put into the target, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.probing.bench import Bench, Result
from ckpt_surgeon.probing.groups import Group, Way

__all__ = ["Trial", "Verdict", "judged"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A way, or None for weights which have nothing to do with the source; and what a run made of it."""

    way: Way | None
    result: Result


@dataclass(frozen=True, slots=True)
class Verdict:
    """best: the trial which led furthest. others: the rest. first, last: places of the calls of the group's parts."""

    group: Group
    best: Trial
    others: tuple[Trial, ...]
    first: int
    last: int

    @property
    def is_clear(self) -> bool:
        """Whether every other way led less far, to outputs which are not the source's."""
        return bool(self.others) and all(
            each.result.reach(self.first) < self.best.result.reach(self.first) or (self.best.result.is_equal and each.result.is_other)
            for each in self.others
        )

    @property
    def is_even(self) -> bool:
        """Whether all ways, and weights of no meaning, lead to equal outputs."""
        return all(each.result.is_equal for each in (self.best, *self.others))


def judged(bench: Bench, group: Group, most: int) -> Verdict | None:
    """Try the ways in at most so many runs, and leave the best in the target; None where there are not runs enough."""
    trials: list[Trial] = []

    def put(way: Way) -> None:
        bench.reset(group.targets)
        bench.put([link for links in way for link in links])

    def tried(way: Way) -> Result:
        put(way)
        trials.append(Trial(way, bench.run()))
        return trials[-1].result

    if most < 2:  # one run proves nothing without another which differs
        return None
    first, last = tried(group.matched).places(group.targets)
    ways = group.ways(most - 1)
    if ways is None:
        _climb(group, tried, lambda: _best(trials, first), most - 1)
    else:
        _try_all((way for way in ways if way != group.matched), group, tried, trials, most - 1)
    best = _best(trials, first)
    assert best.way is not None
    if len({trial.way for trial in trials}) == 1 or best.way in group.layouts:
        bench.shake([link for links in best.way for link in links])
        trials.append(Trial(None, bench.run()))
    put(best.way)
    return Verdict(group, best, tuple(trial for trial in trials if trial is not best), first, last)


def _try_all(ways: Iterable[Way], group: Group, tried: Callable[[Way], Result], trials: list[Trial], most: int) -> None:
    """All ways; but no layout once the outputs are equal, for another one is then known to be of no use only if asked for."""
    for way in ways:
        if len(trials) >= most or (way in group.layouts and any(trial.result.is_equal for trial in trials)):
            return
        tried(way)


def _climb(group: Group, tried: Callable[[Way], Result], best: Callable[[], Trial], most: int) -> None:
    """From the matched way on to the best of those near it, as long as one leads further."""
    known = {group.matched}
    while True:
        start = best()
        assert start.way is not None
        for way in group.near(start.way):
            if way not in known and len(known) < most:
                known.add(way)
                tried(way)
        if best() is start:
            return


def _best(trials: Iterable[Trial], first: int) -> Trial:
    """The first of those which lead furthest."""
    return max(trials, key=lambda trial: (trial.result.is_equal, trial.result.reach(first)))
