"""Modules matched within two parts which belong together: fused ones, those of the same shapes, then those of other shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckpt_surgeon.mapping.calibration import UNLIKE, Weights
from ckpt_surgeon.mapping.choosing import Orders, choose
from ckpt_surgeon.mapping.fitting import fit
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.parts import match_parts
from ckpt_surgeon.mapping.runs import Run, runs
from ckpt_surgeon.mapping.tree import Node

__all__ = ["match_modules"]

_LEAST = 0.5  # a less likely match waits for a larger surrounding


def match_modules(targets: Sequence[Node], sources: Sequence[Node], context: float, orders: Orders, last: bool) -> list[Match]:
    """The matches between modules of two parts; `context` is how alike these are, `last` lets nothing wait."""
    least = 0.0 if last else _LEAST
    matches = match_parts(targets, sources, context)
    for step in (_same_shapes, _other_shapes):
        left, right = _unmatched(matches, targets, sources)
        matches += [match for match in step(left, right, context, orders) if match.confidence > least]
    return matches


def _unmatched(matches: Iterable[Match], targets: Sequence[Node], sources: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    done = {node for match in matches for node in (*match.targets, *match.sources)}
    return [node for node in targets if node not in done], [node for node in sources if node not in done]


def _same_shapes(targets: Sequence[Node], sources: Sequence[Node], context: float, orders: Orders) -> list[Match]:
    """Modules whose tensors have the same shapes, but for 1s."""
    classes: dict[int, tuple[list[Node], list[Node]]] = {}
    for side, nodes in enumerate((targets, sources)):
        for node in nodes:
            classes.setdefault(node.signature, ([], []))[side].append(node)
    return [match for left, right in classes.values() if left and right for match in _class(left, right, context, orders)]


def _class(targets: Sequence[Node], sources: Sequence[Node], context: float, orders: Orders) -> list[Match]:
    left, right = _units(targets, sources)
    even = len(targets) == len(sources)
    base = Weights.structure * context / 4
    fits = [[base + _likeness(a.nodes[0], b.nodes[0]) for b in right] for a in left]
    nothing = UNLIKE + (0.0 if even else UNLIKE * (1 - context))
    return [
        Match((a,), (b,), decision.confidence, _why(decision.name, len(left)), rivals=_rival(right, decision.rival, index))
        for decision in choose(left, right, fits, orders, nothing)
        for index, (a, b) in enumerate(zip(left[decision.row].nodes, right[decision.column].nodes, strict=True))
    ]


def _rival(units: Sequence[Run], rival: int | None, index: int) -> tuple[tuple[Node, ...], ...]:
    if rival is None or index >= len(units[rival]):
        return ()
    return ((units[rival].nodes[index],),)


def _units(targets: Sequence[Node], sources: Sequence[Node]) -> tuple[list[Run], list[Run]]:
    """Runs where both sides have runs of the same lengths, else single modules."""
    left, right = runs(targets), runs(sources)
    if sorted(map(len, left)) == sorted(map(len, right)) and len(set(map(len, left))) == 1:
        return left, right
    return [Run((node,)) for node in targets], [Run((node,)) for node in sources]


def _likeness(target: Node, source: Node) -> float:
    roles = {tensor.role for tensor in target.tensors} == {tensor.role for tensor in source.tensors}
    exact = {tensor.spec.shape for tensor in target.tensors} == {tensor.spec.shape for tensor in source.tensors}
    return Weights.role * roles + Weights.exact * exact + Weights.same_path * (target.path == source.path)


def _why(name: float, rivals: int) -> str:
    if rivals == 1:
        return "the one module of these shapes here"
    return "the nearest names of these shapes" if name > UNLIKE else "the same place among modules of these shapes"


def _other_shapes(targets: Sequence[Node], sources: Sequence[Node], context: float, orders: Orders) -> list[Match]:
    """Modules whose shapes differ in a way which an op mends, and whose names are alike."""
    if not targets or not sources or len(targets) * len(sources) > _MOST_PAIRS:
        return []
    left, right = [Run((node,)) for node in targets], [Run((node,)) for node in sources]
    fits = [[Weights.structure * context / 4 + fit(a.nodes[0], b.nodes[0]) for b in right] for a in left]
    return [
        Match(left[d.row].nodes, right[d.column].nodes, d.confidence, "names are alike, shapes differ as an op mends")
        for d in choose(left, right, fits, orders, UNLIKE * 2)
        if fit(left[d.row].nodes[0], right[d.column].nodes[0]) > 0
    ]


_MOST_PAIRS = 4096  # of leftovers; more are no question of shapes
