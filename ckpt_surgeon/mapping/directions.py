"""Lists side by side: where shapes prove that one of them is turned round, another of which they tell nothing may be, too."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.tree import Node

__all__ = ["unsure_directions"]

_DIGIT = re.compile(r"\d")
_EITHER_WAY = "a list beside it is turned round, as its shapes prove, and those of this one are all alike"


@dataclass(frozen=True, slots=True)
class _List:
    """Modules of one pattern on both sides, each with one number, by the target's. is_told: whether shapes say which is which."""

    matches: Sequence[Match]

    @property
    def rises(self) -> bool:
        numbers = [match.sources[0].numbers for match in self.matches]
        return numbers == sorted(numbers)

    @property
    def is_told(self) -> bool:
        return len({match.targets[0].signature for match in self.matches}) == len(self.matches)

    @property
    def is_uniform(self) -> bool:
        return len({match.targets[0].signature for match in self.matches}) == 1


def unsure_directions(matches: Sequence[Match]) -> list[Match]:
    """The matches; lists of alike modules in doubt which run the other way than one beside them of the same length whose shapes tell."""
    places: dict[object, list[_List]] = defaultdict(list)
    for each in _lists(matches):
        first = each.matches[0]
        places[_around(first.targets[0]), _around(first.sources[0]), len(each.matches)].append(each)
    others: dict[int, tuple[Node, ...]] = {}  # of each match in doubt what it would take in the other direction
    for beside in places.values():
        told = {each.rises for each in beside if each.is_told}
        for each in beside:
            if each.is_uniform and told == {not each.rises}:
                others |= {id(match): other.sources for match, other in zip(each.matches, each.matches[::-1], strict=True)}
    return [_doubted(match, others[id(match)]) if id(match) in others else match for match in matches]


def _doubted(match: Match, other: tuple[Node, ...]) -> Match:
    return replace(match.within(BOTH_WAYS, _EITHER_WAY), rivals=() if other == match.sources else (other,))


def _lists(matches: Sequence[Match]) -> list[_List]:
    found: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in matches:
        if match.form == "plain" and len(match.targets[0].numbers) == len(match.sources[0].numbers) == 1:
            found[match.targets[0].pattern, match.sources[0].pattern].append(match)
    return [_List(sorted(group, key=lambda match: match.targets[0].numbers)) for group in found.values() if len(group) > 1]


def _around(module: Node) -> tuple[str, ...]:
    """What a list stands in, its own name left out."""
    at = next(place for place, segment in enumerate(module.path) if _DIGIT.search(segment))
    return module.path[: at - 1] if module.path[at].isdigit() and at else module.path[:at]
