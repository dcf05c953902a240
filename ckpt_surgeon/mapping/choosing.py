"""Which of several parts is which: by structure, names and places together, with the chance that each decision is right."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.assigning import assign
from ckpt_surgeon.mapping.calibration import Weights, chance
from ckpt_surgeon.mapping.runs import Run
from ckpt_surgeon.mapping.words import likeness, meanings, without

__all__ = ["Decision", "Orders", "choose", "renumbered"]


_TOLD = 3.0  # places which names tell, against places in a file


@dataclass(frozen=True, slots=True)
class Orders:
    """Whether the places of keys tell anything: of the target's file, of the source's, and of both together (0 to 1)."""

    target: bool
    source: bool
    trust: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Row and column of what belongs together, the chance that it does, and the column which is next best (None: none)."""

    row: int
    column: int
    confidence: float
    rival: int | None
    name: float


def choose(
    targets: Sequence[Run],
    sources: Sequence[Run],
    fits: Sequence[Sequence[float]],
    orders: Orders,
    nothing: float,
    depths: tuple[int, int] = (0, 0),
) -> list[Decision]:
    """The assignment of runs to runs with the highest score.

    nothing: what a run scores which stays alone. depths: how many segments of paths are the surrounding's, and tell nothing.
    """
    names = _names(targets, sources, depths)
    places = _places(targets, sources, orders)
    scores = [[fit + Weights.name * names[i][j] + Weights.order * places[i][j] for j, fit in enumerate(row)] for i, row in enumerate(fits)]
    return [
        Decision(choice.row, choice.column, chance(choice.margin, choice.contested), choice.rival, names[choice.row][choice.column])
        for choice in assign(scores, nothing)
    ]


def _names(targets: Sequence[Run], sources: Sequence[Run], depths: tuple[int, int]) -> list[list[float]]:
    left, right = _telling(targets, depths[0]), _telling(sources, depths[1])
    if renumbered(targets, sources):
        left, right = [_unnumbered(words) for words in left], [_unnumbered(words) for words in right]
    return [[likeness(a, b) for b in right] for a in left]


def renumbered(targets: Sequence[Run], sources: Sequence[Run]) -> bool:
    """Whether one side counts through what the other partly names (`0 1 2`, and `first 0 last`): then its numbers are others."""
    patterns = [{run.pattern for run in side} for side in (targets, sources)]
    if len(targets) < 2 or len(sources) < 2 or len(patterns[0]) == len(patterns[1]):
        return False
    return any(len(one) == 1 and one < other for one, other in (patterns, patterns[::-1]))


def _unnumbered(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not word.isdigit())


def _telling(units: Sequence[Run], depth: int) -> list[tuple[str, ...]]:
    """Each run's words, without those which all of several have."""
    words = [_words(run, depth) for run in units]
    common = set(words[0]).intersection(*words) if len(words) > 1 else set()
    return [without(each, common) or each for each in words]


def _words(run: Run, depth: int) -> tuple[str, ...]:
    words = meanings((*run.nodes[0].beside, *run.nodes[0].unwrapped.path[depth:]))
    return tuple(word for word in words if not word.isdigit()) if len(run) > 1 else words


def _places(targets: Sequence[Run], sources: Sequence[Run], orders: Orders) -> list[list[float]]:
    """How near the places of two runs are among their rivals, 0 to 1; all 0 where places tell nothing."""
    rows, columns = len(targets), len(sources)
    if _told(targets, sources) or _told(sources, targets):
        return _ordinals(targets, sources)
    known = _ordered(targets, orders.target) and _ordered(sources, orders.source)
    if not known or rows < 2 or columns < 2:
        return [[0.0] * columns for _ in targets]
    left, right = _ranks(targets), _ranks(sources)
    weight = orders.trust if rows == columns else orders.trust / 2
    return [[weight * (1 - abs(a - b)) for b in right] for a in left]


def _ordinals(targets: Sequence[Run], sources: Sequence[Run]) -> list[list[float]]:
    """Places where names tell of one end: `proj_in`, `layers.0`, `proj_out` are 0, 1 and 2."""
    left, right = _ranks(targets, named=True), _ranks(sources, named=True)
    return [[_TOLD * (1 - abs(a - b)) for b in right] for a in left]


def _told(counted: Sequence[Run], named: Sequence[Run]) -> bool:
    """Whether one side counts and the names of the other say in which order they come, all but one at most in the middle."""
    if len(counted) < 2 or len(named) < 2 or len({run.pattern for run in counted}) > 1:
        return False
    ordinals = [_ordinal(run) for run in named]
    return any(ordinals) and len(set(ordinals)) == len(ordinals)


def _ordinal(run: Run) -> int:
    """-1 for a name which says it comes first, 1 for one which says last."""
    words = set(meanings(run.nodes[0].path[-2:]))
    return ("out" in words or "last" in words) - ("in" in words or "first" in words)


def _ordered(units: Sequence[Run], natural: bool) -> bool:
    return natural or len({run.pattern for run in units}) == 1


def _ranks(units: Sequence[Run], named: bool = False) -> list[float]:
    """Each unit's place among all, 0 to 1: by number, or in the file; `named`: first what its name puts first."""
    one_pattern = len({run.pattern for run in units}) == 1
    places = [run.nodes[0].numbers if one_pattern else (_ordinal(run) if named else 0, run.first) for run in units]
    order = sorted(range(len(units)), key=places.__getitem__)
    ranks = [0.0] * len(units)
    for rank, i in enumerate(order):
        ranks[i] = rank / (len(units) - 1)
    return ranks
