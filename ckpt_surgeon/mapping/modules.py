"""Modules matched within two parts which belong together: fused ones, those of the same shapes, then those of other shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.calibration import BOTH_WAYS, COMMON, UNLIKE, Weights
from ckpt_surgeon.mapping.choosing import choose, renumbered
from ckpt_surgeon.mapping.evidence import Evidence, Kinship
from ckpt_surgeon.mapping.fitting import NEVER, fit, main
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.parts import match_parts
from ckpt_surgeon.mapping.runs import Run, runs
from ckpt_surgeon.mapping.tree import Node

__all__ = ["Context", "match_modules"]

_NAMED = 0.35  # likeness of names which tells
_LEAST = 0.5  # a less likely match waits for a larger surrounding
_SURE = 0.95  # of matches which may tell of others
_TURNED = 0.98  # of matrices of one name, though others are not turned
_NEAR = 0.5  # to a matched sibling, in the same parent and of the same number
_FOREIGN = "no name, and nothing near, speaks for it"
_MOST_ROUNDS = 4  # of matches which follow from others; longer chains are none
_MOST_PAIRS = 2048  # of modules in one place; more, the most seen is 1464, are no question of shapes


@dataclass(frozen=True, slots=True)
class Context:
    """How alike two parts are; closed: all that one holds has its place in the other; depths: segments in the paths of both.

    count: tensors beneath both.
    """

    likeness: float
    closed: bool
    depths: tuple[int, int]
    count: int

    def knowing(self, fused: Sequence[Match]) -> Context:
        """The same, what is fused on one side taken for what the other has of it."""
        found = sum(node.count for match in fused for node in (*match.targets, *match.sources))
        return replace(self, likeness=min(self.likeness + found / max(self.count, 1), 1.0))


Pools = tuple[list[Node], list[Node]]


def match_modules(nodes: Pools, found: Sequence[Match], context: Context, evidence: Evidence, last: bool) -> list[Match]:
    """`found`, and the matches between modules of two parts.

    context: what the parts are to one another. last: nothing waits for a larger surrounding.
    """
    fused = match_parts(*_unmatched(found, nodes))
    context = context.knowing(fused)
    matches = [*found, *fused]
    matches += _turned_namesakes(*_unmatched(matches, nodes), context.depths)
    alike = _same_shapes(matches, nodes, context, evidence)
    for _ in range(_MOST_ROUNDS):
        new = [match for match in alike if match.confidence >= _SURE]
        if not new:
            break
        matches += _capped(new, matches[len(found) :])
        alike = _same_shapes(matches, nodes, context, evidence)
    least = 0.0 if last else _LEAST
    matches += _capped([match for match in alike if match.confidence > least], matches[len(found) :])
    for step in (_turned_shapes, _other_shapes):
        new = [match for match in step(matches, nodes, context, evidence) if match.confidence > least]
        matches += _capped(new, matches[len(found) :])
    return matches


def _capped(new: Sequence[Match], earlier: Sequence[Match]) -> list[Match]:
    """No surer than those which were decided first among modules of the same shapes, and left the others no choice."""
    caps: dict[int, float] = {}
    for match in earlier:
        signature = match.targets[0].signature
        caps[signature] = min(match.confidence, caps.get(signature, 1.0))
    return [replace(match, confidence=min(match.confidence, caps.get(match.targets[0].signature, 1.0))) for match in new]


def _turned_namesakes(targets: Sequence[Node], sources: Sequence[Node], depths: tuple[int, int]) -> Iterator[Match]:
    """Modules of one name whose matrices are turned, though others have their very shapes: `up` and `down`, all of them transposed."""
    named = {node.path[depths[1] :]: node for node in sources}
    shapes = {node.signature for node in targets}, {node.signature for node in sources}
    for node in targets:
        other = named.get(node.path[depths[0] :])
        if other is None or node.signature == other.signature or node.shapes != other.shapes or fit(node, other) <= 0:
            continue
        if node.signature in shapes[1] or other.signature in shapes[0]:
            yield Match((node,), (other,), _TURNED, "the same name, turned")


def _unmatched(matches: Iterable[Match], nodes: Pools) -> Pools:
    done = {node for match in matches for node in (*match.targets, *match.sources)}
    return [node for node in nodes[0] if node not in done], [node for node in nodes[1] if node not in done]


def _same_shapes(matches: Sequence[Match], nodes: Pools, context: Context, evidence: Evidence) -> list[Match]:
    """Modules whose tensors have the same shapes, but for 1s."""
    return _classes(matches, nodes, context, evidence, lambda node: node.signature)


def _turned_shapes(matches: Sequence[Match], nodes: Pools, context: Context, evidence: Evidence) -> list[Match]:
    """Modules whose tensors have the same sizes, in another order."""
    found = _classes(matches, nodes, context, evidence, lambda node: frozenset(node.shapes.items()))
    return [match for match in found if fit(match.targets[0], match.sources[0]) > 0]


def _classes(matches: Sequence[Match], nodes: Pools, context: Context, evidence: Evidence, kind: Callable[[Node], Hashable]) -> list[Match]:
    free = _unmatched(matches, nodes)
    if not all(free):
        return []
    classes: dict[Hashable, Pools] = {}
    for side in (0, 1):
        for node in free[side]:
            classes.setdefault(kind(node), ([], []))[side].append(node)
    kinship = Kinship(free, matches)
    return [match for pools in classes.values() if all(pools) for match in _class(pools, context, evidence, kinship)]


def _class(nodes: Pools, context: Context, evidence: Evidence, kinship: Kinship) -> list[Match]:
    if len(nodes[0]) * len(nodes[1]) > _MOST_PAIRS:
        return _crowd(nodes)
    left, right = _units(*nodes)
    base = Weights.structure * context.likeness / 4
    same = 0.0 if renumbered(left, right) else Weights.same_path
    fits = [[base + _fit(a, b, evidence, kinship) + same * _same_path(a, b) for b in right] for a in left]
    specific = max(len(tensor.squeezed) for tensor in nodes[0][0].tensors) > 2
    nothing = 0.0 if context.closed else UNLIKE - COMMON * specific
    found = [
        Match((a,), (b,), decision.confidence, _why(decision.name, len(left)), rivals=_rival(right, decision.rival, index))
        for decision in choose(left, right, fits, evidence.orders, nothing, context.depths)
        for index, (a, b) in enumerate(zip(left[decision.row].nodes, right[decision.column].nodes, strict=True))
    ]
    return [_tempered(match, context, evidence, kinship) for match in found]


def _tempered(match: Match, context: Context, evidence: Evidence, kinship: Kinship) -> Match:
    """The match; a question where nothing but shapes speaks for it, though names mostly tell."""
    target, source = match.targets[0], match.sources[0]
    held = (_is_stem(target) and _is_stem(source)) or kinship.share(target, source) > _NEAR
    if held or evidence.supports(target, source, context.depths):
        return match
    return replace(match, confidence=match.confidence * BOTH_WAYS, doubt=_FOREIGN)


def _crowd(nodes: Pools) -> list[Match]:
    """Of too many modules of the same shapes to be compared one by one, those of the same name or of the same place in a run."""
    inner, other_inner = map(_shared_start, nodes)
    named = {node.path[other_inner:]: node for node in nodes[1]}
    pairs = ((node, named.get(node.path[inner:])) for node in nodes[0])
    matches = [Match((node,), (other,), 1.0, "the same name") for node, other in pairs if other is not None]
    rest = _unmatched(matches, nodes)
    if any(len({node.pattern for node in side}) != 1 for side in rest):
        return matches
    left, right = map(runs, rest)
    if len(left) == len(right) == 1 and len(left[0]) == len(right[0]):
        matches += [Match((a,), (b,), _SURE, "the same place") for a, b in zip(left[0].nodes, right[0].nodes, strict=True)]
    return matches


def _shared_start(nodes: Sequence[Node]) -> int:
    """With how many segments all paths start."""
    paths = [node.path for node in nodes]
    first, last = min(paths), max(paths)  # in between all start as both do
    return next((n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))


def _fit(targets: Run, sources: Run, evidence: Evidence, kinship: Kinship) -> float:
    """What speaks for two runs of modules but their names and places."""
    target, source = targets.nodes[0], sources.nodes[0]
    score = _likeness(target, source) + min(fit(target, source), 0) + evidence.known(target, source) - evidence.strangeness(target, source)
    if len(targets) != len(sources):
        return score
    kin = [kinship.share(a, b) for a, b in zip(targets.nodes, sources.nodes, strict=True)]
    return score + Weights.kin * sum(kin) / len(kin)


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
    stem = _is_stem(target) and _is_stem(source)
    return Weights.role * roles + Weights.exact * exact + Weights.stem * stem


def _is_stem(module: Node) -> bool:
    """Whether a kernel sees two to four channels, as only the first layer does."""
    shape = main(module).spec.shape
    return len(shape) > 3 and 2 <= shape[1] <= 4


def _same_path(targets: Run, sources: Run) -> bool:
    return targets.nodes[0].path == sources.nodes[0].path


def _why(name: float, rivals: int) -> str:
    if rivals == 1:
        return "the one module of these shapes here"
    return "the nearest names of these shapes" if name > _NAMED else "the same place among modules of these shapes"


def _other_shapes(matches: Sequence[Match], nodes: Pools, context: Context, evidence: Evidence) -> list[Match]:
    """Modules whose shapes differ in a way which an op mends, and whose names are alike."""
    targets, sources = _unmatched(matches, nodes)
    if not targets or not sources or len(targets) * len(sources) > _MOST_PAIRS:
        return []
    left, right = [Run((node,)) for node in targets], [Run((node,)) for node in sources]
    kinship = Kinship((targets, sources), matches)
    base = Weights.structure * context.likeness / 4
    fits = [[base + _mendable(a.nodes[0], b.nodes[0]) + _fit(a, b, evidence, kinship) for b in right] for a in left]
    found = [
        Match(left[d.row].nodes, right[d.column].nodes, d.confidence, "names are alike, shapes differ as an op mends")
        for d in choose(left, right, fits, evidence.orders, UNLIKE, context.depths)
        if _mendable(left[d.row].nodes[0], right[d.column].nodes[0]) > 0
    ]
    return [_tempered(match, context, evidence, kinship) for match in found]


def _mendable(target: Node, source: Node) -> float:
    """How well two modules of other shapes fit; those of the same shapes are decided before."""
    return NEVER if target.signature == source.signature else fit(target, source)
