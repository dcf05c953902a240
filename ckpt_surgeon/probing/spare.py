"""What a mapping leaves over on both sides, of the same shapes in the same places: names spoke against it, a run may speak for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Alternative, Family, Link, Mapping
from ckpt_surgeon.spec import Header

__all__ = ["SPARE", "spare_families"]

SPARE = "left over on both sides"


@dataclass(frozen=True, slots=True)
class _Place:
    """The keys of one module in all its repetitions. sign: their last names, numbers and shapes, equal for what may belong together."""

    sign: Hashable
    keys: tuple[str, ...]


def spare_families(mapping: Mapping, source: Header, target: Header) -> list[Family]:
    """A decision for each place of the target for which nothing was found, without any confidence: all places of the source which fit.

    The first of several places comes first from the first one of the source, and so on.
    """
    free: dict[Hashable, list[_Place]] = {}
    for place in _places(mapping.unused, source):
        free.setdefault(place.sign, []).append(place)
    found: list[Family] = []
    turn: Counter[Hashable] = Counter()
    for place in _places(mapping.missing, target):
        others = free.get(place.sign, [])
        start = turn[place.sign]
        turn[place.sign] += 1
        ways = [_links(place, other) for other in (*others[start:], *others[:start])]
        if ways:
            found.append(Family(ways[0], 0.0, SPARE, "", tuple(Alternative(way, 0.0) for way in ways[1:])))
    return found


def _places(keys: Iterable[str], header: Header) -> list[_Place]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        if key in header.tensors:
            groups.setdefault(_pattern(key), []).append(key)
    return [_Place(frozenset(_sign(key, header) for key in group), tuple(sorted(group, key=_numbers))) for group in groups.values()]


def _pattern(key: str) -> str:
    return ".".join("#" if segment.isdigit() else segment for segment in key.split(".")[:-1])


def _numbers(key: str) -> tuple[tuple[int, ...], str]:
    *parents, leaf = key.split(".")
    return tuple(int(segment) for segment in parents if segment.isdigit()), leaf


def _sign(key: str, header: Header) -> Hashable:
    spec = header.tensors[key]
    return *_numbers(key), spec.shape, spec.dtype.is_float


def _links(place: _Place, other: _Place) -> tuple[Link, ...]:
    return tuple(Link((name,), (key,)) for key, name in zip(place.keys, other.keys, strict=True))
