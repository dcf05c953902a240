"""A mapping with some of its decisions made by evidence: their links, how sure they are, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.links import Family, Mapping
from ckpt_surgeon.probing.groups import Group, Way
from ckpt_surgeon.spec import Header

__all__ = ["CERTAIN", "doubted", "settled", "with_families", "without_links"]

CERTAIN = 1.0


def settled(families: Sequence[Family], group: Group, way: Way, why: str) -> list[Family]:
    """The families, those of the group with the links of the way, certain and without any doubt."""
    found = list(families)
    for at, links in zip(group.members, way, strict=True):
        found[at] = Family(links, CERTAIN, why)
    return found


def doubted(families: Sequence[Family], members: Iterable[int], doubt: str, most: float | None = None) -> list[Family]:
    """The families, those of the group with the doubt beside the one which they have, and at most so sure."""
    found = list(families)
    for at in members:
        family = found[at]
        told = "; ".join(filter(None, (family.doubt, doubt)))
        found[at] = replace(family, doubt=told, confidence=family.confidence if most is None else min(family.confidence, most))
    return found


def with_families(families: Iterable[Family], source: Header, target: Header) -> Mapping:
    """The mapping of these decisions, in target order, and what they leave; what a certain one takes is no alternative of any other."""
    known = [family for family in families if family.links]
    taken = {key for family in known if family.confidence >= CERTAIN for link in family.links for key in link.sources}
    places = {key: place for place, key in enumerate(target)}
    known.sort(key=lambda family: min(places.get(key, len(places)) for link in family.links for key in link.targets))
    pruned = tuple(_without(family, taken) if family.confidence < CERTAIN else family for family in known)
    made = {key for family in pruned for link in family.links for key in link.targets}
    used = {key for family in pruned for link in family.links for key in link.sources}
    return Mapping(pruned, tuple(key for key in target if key not in made), tuple(key for key in source if key not in used))


def _without(family: Family, taken: set[str]) -> Family:
    free = [each for each in family.alternatives if not any(key in taken for link in each.links for key in link.sources)]
    return replace(family, alternatives=tuple(free))


def without_links(family: Family, made: Collection[str], used: Collection[str]) -> Family:
    """The decision without the links whose ends are decided otherwise."""
    kept = tuple(
        link for link in family.links if not any(key in made for key in link.targets) and not any(key in used for key in link.sources)
    )
    return family if len(kept) == len(family.links) else replace(family, links=kept, alternatives=())
