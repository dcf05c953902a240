"""What is known beyond the two parts at hand: whether places tell, which names went together elsewhere, which siblings are matched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ckpt_surgeon.mapping.calibration import Weights
from ckpt_surgeon.mapping.choosing import Orders
from ckpt_surgeon.mapping.fitting import main
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.synonyms import TWINS
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import meanings

__all__ = ["Evidence", "Kinship", "Lexicon"]

_DIGITS = re.compile(r"\d+")
_SURE = 0.95  # matches from which names are learned
_FAMILY = 3  # modules of one parent, at most, of which one tells of the others

Stem = tuple[object, ...]


class Lexicon:
    """Which names went together, in matches which are sure without it."""

    def __init__(self, matches: Iterable[Match] = (), parts: Iterable[tuple[Node, Node, float]] = ()) -> None:
        self._pairs: Counter[tuple[Stem, Stem]] = Counter()
        self._targets: Counter[Stem] = Counter()
        self._sources: Counter[Stem] = Counter()
        plain = [(match.targets[0], match.sources[0], match.confidence) for match in matches if match.form == "plain"]
        for left, right, confidence in (*plain, *parts):
            if confidence >= _SURE:
                self._learn(left, right)

    def _learn(self, left: Node, right: Node) -> None:
        for target, source in zip(_stems(left), _stems(right), strict=True):
            self._pairs[target, source] += 1
            self._targets[target] += 1
            self._sources[source] += 1

    def share(self, target: Node, source: Node) -> float:
        """The share of these two names' matches which they have with one another, 0 to 1; less where there are few."""
        return max(self._share(*stems) for stems in zip(_stems(target), _stems(source), strict=True))

    def _share(self, target: Stem, source: Stem) -> float:
        count = self._pairs[target, source]
        return count / (max(self._targets[target], self._sources[source]) + 1) if count else 0.0


def _stems(part: Node) -> tuple[Stem, Stem]:
    """The last and the two last words of a part's name, with what kind of part it is."""
    kind: Stem = ()
    if not part.children:
        kind = (*sorted(tensor.role for tensor in part.tensors), len(main(part).spec.shape))
    names = ["#" if segment.isdigit() else segment for segment in part.path[-2:]]
    return (*names[-1:], *kind), (*names, None, *kind)


class Kinship:
    """Matched modules by their parents: of a few siblings, one which is matched tells where the others are."""

    def __init__(self, modules: tuple[Iterable[Node], Iterable[Node]], matches: Iterable[Match]) -> None:
        sizes = [Counter(node.path[:-1] for node in side) for side in modules]
        self._kin: tuple[dict[tuple[str, ...], list[Node]], dict[tuple[str, ...], list[Node]]] = ({}, {})
        pairs = [(match.targets[0], match.sources[0]) for match in matches if match.form == "plain"]
        for pair in pairs:
            for side in (0, 1):
                sizes[side][pair[side].path[:-1]] += 1
        for pair in pairs:
            for side in (0, 1):
                parent = pair[side].path[:-1]
                if sizes[side][parent] <= _FAMILY:
                    self._kin[side].setdefault(parent, []).append(pair[1 - side])

    def share(self, target: Node, source: Node) -> float:
        """How near one of the two stands to what the other's siblings are matched with, 0 to 1."""
        near = [_nearness(source, other) for other in self._kin[0].get(target.path[:-1], ())]
        near += [_nearness(target, other) for other in self._kin[1].get(source.path[:-1], ())]
        return max(near, default=0.0)


def _nearness(module: Node, other: Node) -> float:
    numbers = _DIGITS.findall(module.path[-1]) == _DIGITS.findall(other.path[-1])
    return 0.5 * (module.path[:-1] == other.path[:-1]) + 0.5 * numbers


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the whole of both files tells."""

    orders: Orders
    lexicon: Lexicon

    def known(self, target: Node, source: Node) -> float:
        """What the names of two parts score for being matched elsewhere, or for being the same letter by letter."""
        twin = Weights.twin * (_is_twin(source) and not _is_twin(target))
        same = target.path[-1:] == source.path[-1:] and not target.path[-1:][0].isdigit() if target.path else False
        return Weights.learned * self.lexicon.share(target, source) + Weights.same_name * same - twin


def _is_twin(part: Node) -> bool:
    return not TWINS.isdisjoint(meanings(part.path))
