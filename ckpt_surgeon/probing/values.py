"""The values themselves as evidence: what a way makes of the source against what the target has."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.links import Family, Mapping
from ckpt_surgeon.probing.gaps import EQUAL, Gaps
from ckpt_surgeon.probing.groups import Group, Links, is_open, open_groups
from ckpt_surgeon.probing.leftovers import SAME, found_by_value
from ckpt_surgeon.probing.settling import CERTAIN, with_families, without_links

__all__ = ["valued"]

_NEAR = 0.3  # relative L2 of weights from what some training made of them
_FURTHER = 3.0  # so many times as far is the next best, where one is near
_NEARLY_CERTAIN = 0.999


def valued(mapping: Mapping, source: Reader, target: Reader, least: float) -> Mapping:
    """The mapping with what the values settle of its decisions which are less sure than `least`; no other tensors are read.

    target: a checkpoint of the same weights, or of what some training made of them; or a model as it was built, of which the
    constants tell (the scales of norms are 1, shifts 0).
    """
    headers = source.header, target.header
    gaps = Gaps(source, target)
    families = list(mapping.families)
    for group in open_groups(families, least, *headers):
        families = _settled(families, group, gaps)
    left = with_families(families, *headers)
    open_ones = [family for family in left.families if is_open(family, least)]
    pools = _pool(left.missing, open_ones, "targets"), _pool(left.unused, open_ones, "sources")
    links = [link for family in left.families for link in family.links]
    new = found_by_value(*pools, source, target, links)
    made = {key for family in new for link in family.links for key in link.targets}
    used = {key for family in new for link in family.links for key in link.sources}
    kept = [family if not is_open(family, least) else without_links(family, made, used) for family in left.families]
    return with_families([*kept, *new], *headers)


def _settled(families: list[Family], group: Group, gaps: Gaps) -> list[Family]:
    """Decide each member by itself, where what is decided of all takes no source twice."""
    decided = {at: family for at, ways in _candidates(group) if (family := _decided(ways, gaps)) is not None}
    taken = [key for family in decided.values() for key in {key for link in family.links for key in link.sources}]
    if len(set(taken)) < len(taken):
        return families
    return [decided.get(at, family) for at, family in enumerate(families)]


def _candidates(group: Group) -> Iterator[tuple[int, tuple[Links, ...]]]:
    for i, (at, options) in enumerate(zip(group.members, group.options, strict=True)):
        yield at, tuple(dict.fromkeys((*options, *(way[i] for way in group.layouts))))


def _decided(ways: tuple[Links, ...], gaps: Gaps) -> Family | None:
    """The way which gives the target's values, or is clearly the nearest; None where none is, or several give them."""
    (gap, best), *others = sorted(((gaps.gap(links), links) for links in ways if links), key=lambda pair: pair[0])
    next_gap = others[0][0] if others else float("inf")
    if next_gap <= EQUAL:
        return None
    if gap <= EQUAL:
        return Family(best, CERTAIN, SAME)
    if gap <= _NEAR and next_gap >= _FURTHER * gap and others:
        return Family(best, _NEARLY_CERTAIN, f"its values are {gap:.2g} from the target's, the next best's {next_gap:.2g}")
    return None


def _pool(keys: tuple[str, ...], families: list[Family], side: str) -> list[str]:
    """The keys, and those of open decisions without an op."""
    plain = (link for family in families for link in family.links if link.change is None)
    return list(dict.fromkeys((*keys, *(key for link in plain for key in getattr(link, side)))))
