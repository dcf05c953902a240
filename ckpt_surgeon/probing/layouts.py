"""Other orders of rows and dims which one shape allows: a square matrix turned, rows for rotary positions, packed heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import gcd, log2

from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.words import meanings
from ckpt_surgeon.mapping.writing.proving import refused
from ckpt_surgeon.spec import Header

__all__ = ["is_query_or_key", "layouts", "rotary_layouts", "turned"]

_USUAL_HEAD = 64  # rows; heads of about this size are tried first
_LARGEST_HEAD = 512
_SMALLEST_HEAD = 4  # two rows turn into themselves
_PARTS = 3  # query, key and value
_ROTARY = (("interleaved", "half"), ("half", "interleaved"))
_PACKING = (("deinterleave", "concat"), ("split", "interleave"))  # head by head to part by part, and back

_QUERY, _KEY, _VALUE = "q", "k", "v"
_TURN = Change("transpose")

Links = tuple[Link, ...]
_Relay = Callable[[Link, tuple[int, ...]], Links]


def layouts(way: tuple[Links, ...], source: Header, target: Header) -> Iterator[tuple[Links, ...]]:
    """The way with its plain links changed all alike, for each order which their shapes allow; usual ones first."""
    rows = _shared_rows(way, source)
    relays: list[_Relay] = [partial(_rotary, head, order) for head in _heads(rows) for order in _ROTARY]
    parts = rows // _PARTS if rows % _PARTS == 0 else 0
    relays += [partial(_packed, head, ops) for head in _heads(parts) for ops in _PACKING]
    if (way_turned := turned(way, source)) != way:
        yield way_turned
    yield from _changed(way, relays, source, target)


def rotary_layouts(way: tuple[Links, ...], source: Header, target: Header) -> Iterator[tuple[Links, ...]]:
    """The way with the rows of its plain links in the other rotary order, for each size of head which divides them all."""
    relays: list[_Relay] = [partial(_rotary, head, order) for head in _heads(_shared_rows(way, source)) for order in _ROTARY]
    yield from _changed(way, relays, source, target)


def is_query_or_key(links: Links) -> bool:
    """Whether one side calls them queries or keys, and not both with values: those are packed."""
    link = links[0]
    names = ({*meanings(tuple(key.split(".")[-2:-1]))} for key in (link.targets[0], link.sources[0]))
    return link.change is None and any(words & {_QUERY, _KEY} and _VALUE not in words for words in names)


def _shared_rows(way: tuple[Links, ...], source: Header) -> int:
    """The most rows which divide those of every plain link."""
    plain = [source.tensors[link.sources[0]].shape for links in way for link in links if _is_plain(link, source)]
    return gcd(*(shape[0] for shape in plain if shape), 0)


def _changed(way: tuple[Links, ...], relays: Sequence[_Relay], source: Header, target: Header) -> Iterator[tuple[Links, ...]]:
    for relay in relays:
        changed = tuple(tuple(each for link in links for each in _relaid(link, relay, source)) for links in way)
        if changed != way and not any(refused(links, source, target) for links in changed):
            yield changed


def turned(way: tuple[Links, ...], source: Header) -> tuple[Links, ...]:
    """The way with all its square matrices transposed which are not, and those which are left as they lie."""
    return tuple(tuple(_turned(link, source) for link in links) for links in way)


def _turned(link: Link, source: Header) -> Link:
    if len(link.sources) > 1 or link.change not in (None, _TURN) or link.sources[0] not in source.tensors:
        return link
    shape = source.tensors[link.sources[0]].shape
    is_square = len(shape) == 2 and shape[0] == shape[1] > 1
    return replace(link, change=_TURN if link.change is None else None) if is_square else link


def _is_plain(link: Link, source: Header) -> bool:
    return link.change is None and len(link.sources) == len(link.targets) == 1 and link.sources[0] in source.tensors


def _heads(rows: int) -> list[int]:
    """The even sizes of a head which divide so many rows."""
    sizes = [size for size in range(_SMALLEST_HEAD, min(rows, _LARGEST_HEAD) + 1, 2) if rows % size == 0]
    return sorted(sizes, key=lambda size: abs(log2(size / _USUAL_HEAD)))


def _relaid(link: Link, relay: _Relay, source: Header) -> Links:
    return relay(link, source.tensors[link.sources[0]].shape) if _is_plain(link, source) else (link,)


def _rotary(head: int, order: tuple[str, str], link: Link, shape: tuple[int, ...]) -> Links:
    if len(shape) not in (1, 2):
        return (link,)
    change = Change("rope_permute", (("heads", shape[0] // head), ("source_layout", order[0]), ("target_layout", order[1])))
    return (Link(link.sources, link.targets, change),)


def _packed(head: int, ops: tuple[str, str], link: Link, shape: tuple[int, ...]) -> Links:
    """Apart and together again, in two links with keys of neither header between them."""
    if len(shape) not in (1, 2):
        return (link,)
    between = tuple(f"{link.targets[0]}.part{part}" for part in range(1, _PARTS + 1))
    groups = (("groups", shape[0] // _PARTS // head),)
    apart, together = (Change(op, groups if "interleave" in op else ()) for op in ops)
    return Link(link.sources, between, apart), Link(between, link.targets, together)
