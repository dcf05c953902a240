"""Runs of parts which differ by numbers only, and how two runs line up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.tree import Node

__all__ = ["Line", "Run", "line_up", "runs"]

Likeness = Callable[[Node, Node], float]
_DIGITS = re.compile(r"\d+")
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Run:
    """Parts of one pattern, by their numbers; `first` is the place in the file of the first of them."""

    nodes: tuple[Node, ...]

    @property
    def first(self) -> int:
        return min(node.first for node in self.nodes)

    @property
    def pattern(self) -> str:
        return self.nodes[0].pattern

    def single(self) -> tuple[Run, ...]:
        """Each part as a run of its own."""
        return tuple(Run((node,)) for node in self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True, slots=True)
class Line:
    """Two parts which stand at one place of two runs; `sure`: no other part of the run would do as well."""

    left: Node
    right: Node
    sure: bool


def runs(nodes: Iterable[Node]) -> list[Run]:
    """The nodes by pattern and kind, in file order."""
    groups: dict[str, list[list[Node]]] = {}
    for node in nodes:
        kinds = groups.setdefault(node.pattern, [])
        kind = next((kind for kind in kinds if _akin(kind[0], node)), None)
        if kind is None:
            kinds.append([node])
        else:
            kind.append(node)
    found = [Run(tuple(sorted(kind, key=lambda node: node.numbers))) for kinds in groups.values() for kind in kinds]
    return sorted(found, key=lambda run: run.first)


def _akin(left: Node, right: Node) -> bool:
    """Whether two parts of one pattern repeat each other, wrapped or not: `blocks.0.0` may be a layer and `blocks.0.1` an attention."""
    names, others = _names(left), _names(right)
    inner, other_inner = _names(left.unwrapped), _names(right.unwrapped)
    return names == others or any(not one.isdisjoint(two) for one, two in ((names, others), (inner, others), (names, other_inner)))


def _names(part: Node) -> set[str]:
    return {_DIGITS.sub("#", child.name) for child in part.children}


def line_up(left: Run, right: Run, likeness: Likeness, least: float) -> tuple[float, tuple[Line, ...]]:
    """The monotone alignment, rising or falling, whose pairs are most alike; pairs below `least` are none.

    Returns the likeness of all, 0 to 1, and the pairs. Of equals the rising one is taken, and the earliest numbers.
    """
    if len(left) == len(right) and all(a.signature == b.signature for a, b in zip(left.nodes, right.nodes, strict=True)):
        return 1.0, tuple(Line(a, b, True) for a, b in zip(left.nodes, right.nodes, strict=True))
    if len(left) == len(right):
        least /= 2  # as many here as there: a part which differs more is still the same part
    rising = _align(left.nodes, right.nodes, likeness, least)
    falling = _align(left.nodes, right.nodes[::-1], likeness, least) if len(left) > 1 and len(right) > 1 else (0.0, [])
    total, pairs = falling if falling[0] > rising[0] + _ROUNDING else rising
    return total / max(len(left), len(right)), tuple(_lines(left, right, pairs, likeness))


def _align(left: Sequence[Node], right: Sequence[Node], likeness: Likeness, least: float) -> tuple[float, list[tuple[Node, Node]]]:
    """The longest common subsequence, weighed by likeness: its weight and its pairs."""
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            here = likeness(left[i], right[j])
            paired = here + best[i + 1][j + 1] if here >= least else 0.0
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        here = likeness(left[i], right[j])
        if here >= least and here + best[i + 1][j + 1] >= best[i][j] - _ROUNDING:
            pairs.append((left[i], right[j]))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return best[0][0], pairs


def _lines(left: Run, right: Run, pairs: Sequence[tuple[Node, Node]], likeness: Likeness) -> Iterable[Line]:
    """The pairs, each unsure where a part which stayed alone is as much alike."""
    paired = {id(node) for pair in pairs for node in pair}
    for a, b in pairs:
        here = likeness(a, b)
        lone = [likeness(a, node) for node in right.nodes if id(node) not in paired]
        lone += [likeness(node, b) for node in left.nodes if id(node) not in paired]
        yield Line(a, b, all(other < here - _ROUNDING for other in lone))
