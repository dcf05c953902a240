"""Parts under each other's names: siblings of the same tensors (two norms of a block, two towers) exchanged in all repetitions together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.spec import Header

__all__ = ["Swap", "swaps"]

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Swap:
    """before, after: target key -> what it takes, of both siblings in all repetitions."""

    before: dict[str, str]
    after: dict[str, str]

    def applied(self, families: Sequence[Family], confidence: float, why: str) -> tuple[Family, ...]:
        """The families with the sources of both siblings exchanged, those which this changes with another confidence and reason."""
        found = [(family, tuple(map(self._exchanged, family.links))) for family in families]
        return tuple(family if links == family.links else Family(links, confidence, why) for family, links in found)

    def _exchanged(self, link: Link) -> Link:
        return replace(link, sources=(self.after[link.targets[0]],)) if link.targets[0] in self.after else link


def swaps(families: Sequence[Family], target: Header, parts: Collection[str]) -> Iterator[Swap]:
    """The exchanges of two siblings whose tensors have the same names below them, and the same shapes. What an op makes is left.

    parts: of which one is to be in each exchange.
    """
    made = [link for family in families for link in family.links if link.targets[0] in target.tensors]
    plain = {link.targets[0]: link.sources[0] for link in made if link.change is None and len(link.sources) == 1}
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for parent, children in _children(plain).items():
        for (first, one), (second, other) in combinations(children.items(), 2):
            if one.keys() == other.keys() and all(target.tensors[one[rest]].shape == target.tensors[other[rest]].shape for rest in one):
                groups[_DIGITS.sub("#", parent), first, second] += [(one[rest], other[rest]) for rest in one]
    for pairs in groups.values():
        if any(key.rpartition(".")[0] in parts for pair in pairs for key in pair):
            before = {key: plain[key] for pair in pairs for key in pair}
            yield Swap(before, {key: plain[twin] for one, other in pairs for key, twin in ((one, other), (other, one))})


def _children(keys: Collection[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Each module -> the modules right in it, which are no repetitions, by name -> what of a key stands below these -> the key."""
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for key in keys:
        segments = key.split(".")
        for depth, name in enumerate(segments[:-1]):
            if not name.isdigit():
                found[".".join(segments[:depth])][name][".".join(segments[depth + 1 :])] = key
    return found
