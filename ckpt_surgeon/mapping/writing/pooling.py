"""Open decisions which one answer settles -> one: whether it is `encoder_q` or `encoder_k` is asked once, not for each family below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckpt_surgeon.mapping.links import Alternative, Family, Link
from ckpt_surgeon.mapping.writing.alignment import aligned

__all__ = ["pooled"]

_Sign = tuple[frozenset[tuple[str, ...]], ...]


def pooled(families: Iterable[Family]) -> list[Family]:
    """The families, those joined whose ways differ in the same parts of names, in the order of the first of each."""
    groups: dict[object, list[Family]] = {}
    for family in families:
        sign = _sign(family)
        groups.setdefault(sign if sign and all(sign) else id(family), []).append(family)
    return [family for group in groups.values() for family in ([_joined(group)] if _is_joinable(group) else group)]


def _sign(family: Family) -> _Sign:
    return tuple(_difference(family.links, each.links) for each in family.alternatives)


def _difference(one: Sequence[Link], other: Sequence[Link]) -> frozenset[tuple[str, ...]]:
    """The parts in which the sources of two ways differ, as either has them; empty where there is nothing to compare."""
    if not one or not other:
        return frozenset()
    source, instead = (links[0].sources[0].split(".") for links in (one, other))
    hunks = aligned(source, instead)
    return frozenset(part for hunk in hunks for part in (tuple(source[hunk.start : hunk.stop]), tuple(instead[hunk.first : hunk.last])))


def _is_joinable(group: Sequence[Family]) -> bool:
    """Whether no way takes a key twice."""
    ways = zip(*(_ways(family) for family in group), strict=True)
    return len(group) > 1 and all(_is_once(link for links in way for link in links) for way in ways)


def _ways(family: Family) -> list[tuple[Link, ...]]:
    return [family.links, *(each.links for each in family.alternatives)]


def _is_once(links: Iterable[Link]) -> bool:
    keys = [key for link in links for key in link.sources]
    return len(set(keys)) == len(keys)


def _joined(group: Sequence[Family]) -> Family:
    first = min(group, key=lambda family: family.confidence)
    ways = [[link for family in group for link in _ways(family)[at]] for at in range(1 + len(first.alternatives))]
    others = tuple(Alternative(tuple(links), each.confidence, each.why) for links, each in zip(ways[1:], first.alternatives, strict=True))
    parts = sorted({".".join(part) for difference in _sign(first) for part in difference})
    doubt = first.doubt or f"{' or '.join(parts)}: names and shapes fit alike"
    return Family(tuple(ways[0]), first.confidence, first.why, doubt, others)
