"""Two trees aligned: the largest parts first, paired where their shapes are alike, opened where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.calibration import PAIR, TURNED_RUN, Weights
from ckpt_surgeon.mapping.choosing import Decision, choose
from ckpt_surgeon.mapping.evidence import Evidence
from ckpt_surgeon.mapping.matches import Match, rebase
from ckpt_surgeon.mapping.modules import Context, match_modules
from ckpt_surgeon.mapping.runs import Line, Run, line_up, runs
from ckpt_surgeon.mapping.structure import Structure
from ckpt_surgeon.mapping.tree import Node

__all__ = ["Aligner"]

_SMALL = 4  # modules of a part which can be decided one by one
_SURE = 0.95
_TWIN = 0.9  # likeness of parts between which an unsure decision is a question, not a mistake
_ALIKE = 0.2  # of names
_NEAR = 0.1  # parts within so much of the best likeness compete with it
_MOST_PAIRS = 1024  # of parts which are much alike; of more, the most seen is 9, only those of one name are taken for the same
_TARGET, _SOURCE = 0, 1
_Known = dict[tuple[int, int], tuple[tuple[Node, Node], list[Match]]]


@dataclass(slots=True)
class _Pools:
    """What is still to be matched, of the target and of the source, and what is matched."""

    nodes: tuple[list[Node], list[Node]]
    depths: tuple[int, int]
    matches: list[Match] = field(default_factory=list)

    def open(self, side: int, nodes: Iterable[Node]) -> None:
        """Put the children of parts in their place."""
        opened = dict.fromkeys(nodes)
        kept = [node for node in self.nodes[side] if node not in opened]
        self.nodes[side][:] = [*kept, *(child for node in opened for child in node.children)]

    def unwrap(self, side: int, nodes: Iterable[Node]) -> None:
        """Open parts; where some are wrapped and others are not, their wrappers too: else only those of one kind would be rivals."""
        chains = [_wrappers(node) for node in nodes]
        is_mixed = len(set(map(len, chains))) > 1
        for chain in chains:
            for node in chain if is_mixed else chain[:1]:
                self.open(side, [node])

    def inner(self, side: int) -> list[Node]:
        return [node for node in self.nodes[side] if node.children]

    def largest(self) -> tuple[int, Node] | None:
        """The part which is not a module with most elements, and its side."""
        parts = [(side, node) for side in (_TARGET, _SOURCE) for node in self.inner(side)]
        return max(parts, key=lambda part: (part[1].numel, part[1].count), default=None)


def _wrappers(node: Node) -> list[Node]:
    """The part, and the parts which it merely wraps, from the outside inwards."""
    chain = [node]
    while len(chain[-1].children) == 1 and chain[-1].children[0].children:
        chain.append(chain[-1].children[0])
    return chain


class Aligner:
    """Aligns parts of two trees; parts which are alike letter by letter are aligned once."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._structure = Structure()
        self._known: _Known = {}
        self.pairs: list[tuple[Node, Node, float]] = []

    def align(self, target: Node, source: Node, last: bool = False) -> list[Match]:
        """The matches between the modules beneath two parts; `last`: nothing will be looked for elsewhere."""
        key = (target.template, source.template)
        if key not in self._known or last:
            self._known[key] = ((target, source), self._align(target, source, last))
        old, matches = self._known[key]
        return rebase(matches, old, (target, source))

    def _align(self, target: Node, source: Node, last: bool) -> list[Match]:
        inside = ([target], [source]) if last else (list(target.children or (target,)), list(source.children or (source,)))
        pools = _Pools(inside, (len(target.path), len(source.path)))
        while (part := pools.largest()) is not None:
            self._step(pools, *part)
        closed = target.signature == source.signature or target.numel == source.numel
        context = Context(
            self._structure.likeness(target, source), closed, (len(target.path), len(source.path)), target.count + source.count
        )
        return match_modules(pools.nodes, pools.matches, context, self._evidence, last)

    def _step(self, pools: _Pools, side: int, part: Node) -> None:
        """Pair the part's run with one of the other side, or open it, or open the run in which its match lies."""
        others = pools.inner(1 - side)
        if not others:
            return pools.open(side, pools.inner(side))
        run = _run(part, pools.inner(side))
        pair = self._closest(run.nodes, others)
        if self._better(pair[1], pools.inner(side), self._structure.likeness(*pair)):
            return pools.open(side, run.nodes)
        deep, other_deep = self._structure.deepest(*pair)
        if other_deep is not pair[1]:
            return pools.open(1 - side, _run(pair[1], pools.inner(1 - side)).nodes)
        if deep is not pair[0]:
            return pools.open(side, run.nodes)
        if self._structure.likeness(*pair) < PAIR or not self._pair(pools, side, *pair):
            pools.open(side, run.nodes)
        return None

    def _closest(self, nodes: Iterable[Node], others: Iterable[Node]) -> tuple[Node, Node]:
        """The two of both sides which are most alike."""
        kinds = {node.signature: node for node in reversed(list(nodes))}
        pairs = [(node, other) for node in kinds.values() for other in others]
        return max(pairs, key=lambda pair: self._structure.likeness(*pair))

    def _better(self, other: Node, nodes: Iterable[Node], best: float) -> bool:
        """Whether another of the nodes is clearly more like `other`."""
        return any(self._structure.likeness(node, other) > best + _NEAR for node in nodes)

    def _pair(self, pools: _Pools, side: int, part: Node, other: Node) -> bool:
        """Decide which runs belong together, of all which are much like these two; False where none does."""
        best = self._structure.likeness(part, other)
        rivals = self._near(pools.inner(1 - side), part, best)
        own = self._near(pools.inner(side), other, best)
        targets, sources = _even(*((own, rivals) if side == _TARGET else (rivals, own)))
        if len(targets) * len(sources) > _MOST_PAIRS:
            return self._pair_namesakes(pools, targets, sources)
        lines = [[line_up(a, b, self._structure.likeness, PAIR) for b in sources] for a in targets]
        fits = [
            [Weights.structure * lines[i][j][0] + self._evidence.known(a.nodes[0], b.nodes[0]) for j, b in enumerate(sources)]
            for i, a in enumerate(targets)
        ]
        decisions = choose(targets, sources, fits, self._evidence.orders, PAIR, pools.depths)
        held = [d for d in decisions if _holds(d, targets[d.row], lines[d.row][d.column])]
        if len(held) < len(decisions):
            rows, columns = {d.row for d in held}, {d.column for d in held}
            pools.unwrap(_TARGET, (node for i, run in enumerate(targets) if i not in rows for node in run.nodes))
            pools.unwrap(_SOURCE, (node for j, run in enumerate(sources) if j not in columns for node in run.nodes))
        for decision in held:
            found = lines[decision.row]
            rival = found[decision.rival][1] if decision.rival is not None else ()
            self._descend(pools, decision, found[decision.column][1], rival)
        return bool(decisions)

    def _pair_namesakes(self, pools: _Pools, targets: Sequence[Run], sources: Sequence[Run]) -> bool:
        """Pair, of too many parts to be compared one by one, those of one name which are much alike; open all others."""
        named = {node.path[pools.depths[_SOURCE] :]: node for run in sources for node in run.nodes}
        pairs = [(node, named.get(node.path[pools.depths[_TARGET] :])) for run in targets for node in run.nodes]
        lines = [Line(a, b, True) for a, b in pairs if b is not None and self._structure.likeness(a, b) >= _TWIN]
        paired = {node for line in lines for node in (line.left, line.right)}
        for side, units in ((_TARGET, targets), (_SOURCE, sources)):
            pools.open(side, (node for run in units for node in run.nodes if node not in paired))
        if lines:
            self._descend(pools, Decision(0, 0, 1.0, None, 1.0), lines, ())
        return True

    def _near(self, nodes: Sequence[Node], other: Node, best: float) -> list[Run]:
        likeness = self._structure.likeness
        return [run for run in runs(nodes) if max(likeness(node, other) for node in run.nodes) >= best - _NEAR]

    def _descend(self, pools: _Pools, decision: Decision, lines: Sequence[Line], rival: Sequence[Line]) -> None:
        """Align what stands in each pair of parts; what is left of them goes back into the pools."""
        turnable = decision.name < _ALIKE and _turnable(lines)
        for line in lines:
            deep = self._structure.deepest(line.left, line.right)
            if deep != (line.left, line.right):
                for side, node in enumerate((line.left, line.right)):
                    if deep[side] is not node:
                        pools.open(side, [node])
                continue
            self.pairs.append((line.left, line.right, decision.confidence))
            inside = self.align(line.left, line.right)
            sure, doubt = decision.confidence, ""
            if not line.sure:
                sure, doubt = sure / 2, "another part of the same shapes is left over"
            elif turnable:
                sure, doubt = sure * TURNED_RUN, "numbers may fall where the others rise"
            others = {match.targets: match.sources for match in self._others(line, rival)}
            pools.matches += [_with_rival(match.within(sure, doubt), others) for match in inside]
            for side, node in ((_TARGET, line.left), (_SOURCE, line.right)):
                pools.nodes[side].remove(node)
                done = {module for match in inside for module in (match.targets, match.sources)[side]}
                pools.nodes[side].extend(_rest(node, done) if done else node.children)

    def _others(self, line: Line, rival: Sequence[Line]) -> list[Match]:
        return [match for other in rival if other.left is line.left for match in self.align(line.left, other.right)]


def _with_rival(match: Match, others: dict[tuple[Node, ...], tuple[Node, ...]]) -> Match:
    rival = others.get(match.targets)
    if rival is None:
        return match
    return replace(match, rivals=(*match.rivals, rival))


def _turnable(lines: Sequence[Line]) -> bool:
    """Whether falling numbers would fit as well: parts alike, a list on one side and names with numbers on the other, nothing above."""
    first, last = lines[0], lines[-1]
    outermost = len(first.left.numbers) == len(first.right.numbers) == 1
    if len(lines) < 2 or not outermost or first.left.signature != last.left.signature:
        return False
    return first.left.name.isdigit() != first.right.name.isdigit()


def _holds(decision: Decision, run: Run, found: tuple[float, tuple[Line, ...]]) -> bool:
    """Whether parts are to be paired as wholes: an unsure decision about small ones is left to their modules."""
    small = len(run.nodes[0].modules) <= _SMALL
    return bool(found[1]) and (decision.confidence >= _SURE or (found[0] >= _TWIN and not small))


def _even(targets: list[Run], sources: list[Run]) -> tuple[list[Run], list[Run]]:
    """Runs against runs; single parts where one side has no runs."""
    if max(map(len, targets)) > 1 and max(map(len, sources)) > 1:
        return targets, sources
    return [one for run in targets for one in run.single()], [one for run in sources for one in run.single()]


def _run(node: Node, nodes: Iterable[Node]) -> Run:
    return next(run for run in runs(other for other in nodes if other.pattern == node.pattern) if node in run.nodes)


def _rest(node: Node, done: set[Node]) -> list[Node]:
    """The largest parts beneath of which nothing is matched."""
    if done.isdisjoint(node.modules):
        return [node]
    return [part for child in node.children for part in _rest(child, done)]
