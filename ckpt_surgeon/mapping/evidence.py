"""What is known beyond the two parts at hand: whether places tell, which names went together elsewhere, which siblings are matched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.calibration import Weights
from ckpt_surgeon.mapping.choosing import Orders
from ckpt_surgeon.mapping.fitting import main
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.synonyms import TWINS
from ckpt_surgeon.mapping.tree import Node
from ckpt_surgeon.mapping.words import likeness, meanings

__all__ = ["Evidence", "Kinship", "Lexicon", "Naming"]

_OUTPUT = frozenset(("head", "unembed"))
_NO_TABLE = _OUTPUT | {"out", "class"}
_DIGITS = re.compile(r"\d+")
_SURE = 0.95  # matches from which names are learned
_MANY = 5  # places from which a custom of naming shows
_OTHER_NAME = 0.6  # likeness below which a name is another one
_SAME_NAMING = 0.85  # share of equal names on two sides which name alike
_TELLING = 0.5  # likeness of names, on average, from which names without a likeness are strange
_FOREIGN = 0.25  # likeness of names which have nothing to do with each other
_COMMON_DIMS = 2  # shapes of more dims tell more than names
_NUMBER = "#"
_ORDINALS = ("first", "second")
_KINDS = frozenset(("norm", "conv", "linear", "proj", "embed"))  # say what a module is, not which one
_FAMILY = 3  # modules of one parent, at most, of which one tells of the others

Stem = tuple[object, ...]


class Lexicon:
    """Which names went together, in matches which are sure without it; each shape tells once, and of other shapes only."""

    def __init__(self, matches: Iterable[Match] = (), parts: Iterable[tuple[Node, Node, float]] = ()) -> None:
        self._pairs: dict[tuple[Stem, Stem], set[int]] = {}
        self._targets: dict[Stem, set[int]] = {}
        self._sources: dict[Stem, set[int]] = {}
        plain = ((match.targets[0], match.sources[0], match.confidence) for match in matches if match.form == "plain")
        for left, right, confidence in (*plain, *parts):
            if confidence >= _SURE:
                self._learn(left, right)

    def _learn(self, left: Node, right: Node) -> None:
        for target, source in zip(_stems(left), _stems(right), strict=True):
            self._pairs.setdefault((target, source), set()).add(left.signature)
            self._targets.setdefault(target, set()).add(left.signature)
            self._sources.setdefault(source, set()).add(left.signature)

    def share(self, target: Node, source: Node) -> float:
        """The share of these two names' matches which they have with one another, 0 to 1; less where there are few."""
        return max(self._share(*stems, target.signature) for stems in zip(_stems(target), _stems(source), strict=True))

    def _share(self, target: Stem, source: Stem, own: int) -> float:
        count = len(self._pairs.get((target, source), set()) - {own})
        if not count:
            return 0.0
        return count / (max(len(self._targets[target] - {own}), len(self._sources[source] - {own})) + 1)


@lru_cache(maxsize=1 << 16)
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
        for side in (0, 1):
            for pair in pairs:
                parent = pair[side].path[:-1]
                if parent in sizes[side]:
                    sizes[side][parent] += 1
                    self._kin[side].setdefault(parent, []).append(pair[1 - side])
            for parent in [parent for parent in self._kin[side] if sizes[side][parent] > _FAMILY]:
                del self._kin[side][parent]

    def share(self, target: Node, source: Node) -> float:
        """How near one of the two stands to what the other's siblings are matched with, 0 to 1."""
        near = [_nearness(source, other) for other in self._kin[0].get(target.path[:-1], ())]
        near += [_nearness(target, other) for other in self._kin[1].get(source.path[:-1], ())]
        return max(near, default=0.0)


def _nearness(module: Node, other: Node) -> float:
    numbers = _DIGITS.findall(module.name) == _DIGITS.findall(other.name)
    return 0.5 * (module.path[:-1] == other.path[:-1]) + 0.5 * numbers


@dataclass(frozen=True, slots=True)
class Naming:
    """How names of modules go together which are sure to be the same: how alike they are on average, and the share which is equal."""

    alike: float = 0.0
    equal: float = 0.0

    @classmethod
    def of(cls, matches: Iterable[Match]) -> Naming:
        """The custom which shows in sure matches; none where there are few."""
        plain = [match for match in matches if match.form == "plain" and match.confidence >= _SURE]
        ends = [tuple(_places(node) for node in (match.targets[0], match.sources[0])) for match in plain]
        places = set(ends)
        if len(places) < _MANY:
            kept = sum(match.targets[0].path == match.sources[0].path for match in plain)
            return cls(1.0, 1.0) if len(plain) >= _MANY and kept >= _SAME_NAMING * len(plain) else cls()
        alike = sum(likeness(meanings(left), meanings(right)) for left, right in places) / len(places)
        named = [(left[-1:], right[-1:]) for left, right in ends if {left[-1:], right[-1:]} != {(_NUMBER,)}]
        return cls(alike, sum(left == right for left, right in named) / len(named) if named else 0.0)


def _places(node: Node) -> tuple[str, ...]:
    """The last two segments of a module's path, numbers apart: that two lists both count is no custom of naming."""
    return tuple(_NUMBER if segment.isdigit() else segment for segment in node.path[-2:])


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the whole of both files tells: whether places tell, what names went together, and how alike names are."""

    orders: Orders
    lexicon: Lexicon
    naming: Naming = Naming()

    def strangeness(self, target: Node, source: Node) -> float:
        """What speaks against two modules whose names are less alike than names are here."""
        if not self.naming.alike:
            return Weights.stranger * _are_ends(target, source)
        alike = likeness(meanings(target.path[-2:]), meanings(source.path[-2:]))
        lacking = Weights.unlike * max(self.naming.alike - alike, 0.0)
        stranger = self._are_strangers(target, source) or _are_ends(target, source)
        return lacking + Weights.stranger * stranger

    def estranged(self, target: Node, source: Node) -> bool:
        """Whether modules of a common shape share no word of their paths where nearly all others bear the same names."""
        if len(main(target).squeezed) > _COMMON_DIMS:
            return False
        words = [{word for word in meanings(node.path) if not word.isdigit() and word not in _ORDINALS} for node in (target, source)]
        if min(map(len, words)) > 1:  # a lone "norm" may be any
            words = [each - _KINDS for each in words]
        return self._are_strangers(target, source) and set.isdisjoint(*words)

    def _are_strangers(self, target: Node, source: Node) -> bool:
        return self.naming.equal >= _SAME_NAMING and _bear_other_names(target, source)

    def supports(self, target: Node, source: Node, depths: tuple[int, int]) -> bool:
        """Whether names speak for two modules, be it ever so low; True where they tell nothing here.

        depths: how many segments of both paths are the surrounding's.
        """
        if self.naming.alike < _TELLING or self.lexicon.share(target, source) > 0:
            return True
        pairs = ((target.path[-2:], source.path[-2:]), (target.path[depths[0] :], source.path[depths[1] :]))
        return any(likeness(_unnumbered(left), _unnumbered(right)) >= _FOREIGN for left, right in pairs)

    def known(self, target: Node, source: Node) -> float:
        """What the names of two parts score for being matched elsewhere, or for being the same letter by letter."""
        twin = Weights.twin * (_is_twin(source) and not _is_twin(target))
        names = [part.unwrapped.path[-1:] for part in (target, source)]
        same = target.path != () and names[0] == names[1] and not names[0][0].isdigit()
        return Weights.learned * self.lexicon.share(target, source) + Weights.same_name * same - twin


def _unnumbered(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in meanings(path) if not word.isdigit())


def _bear_other_names(target: Node, source: Node) -> bool:
    """Whether neither module's own name stands in the other's path, nor means much the same."""
    left, right = _own_name(target), _own_name(source)
    shared = left in source.path or right in target.path
    return not shared and likeness(meanings((left,)), meanings((right,))) <= _OTHER_NAME


def _are_ends(target: Node, source: Node) -> bool:
    """Whether one is a table of embeddings and the other an output layer, the same shapes turned."""
    left, right = set(meanings(target.path)), set(meanings(source.path))
    tables = ["embed" in words and _NO_TABLE.isdisjoint(words) for words in (left, right)]
    outputs = [not _OUTPUT.isdisjoint(words) and "embed" not in words for words in (left, right)]
    return (tables[0] and outputs[1]) or (tables[1] and outputs[0])


def _own_name(module: Node) -> str:
    """The last segment which is no number."""
    return next((segment for segment in reversed(module.path) if not segment.isdigit()), "")


@lru_cache(maxsize=1 << 16)
def _is_twin(part: Node) -> bool:
    return not TWINS.isdisjoint(meanings(part.path))
