"""The same sources in another order: of rows and dims, or of the parts which an op puts together or takes apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.writing.proving import refused
from ckpt_surgeon.probing.gaps import EQUAL, Gaps
from ckpt_surgeon.probing.groups import Links
from ckpt_surgeon.probing.layouts import layouts
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header

__all__ = ["laid_otherwise"]

_MOST_PARTS = 4  # query, key, value and one more; all orders of these are tried


def laid_otherwise(suspects: Sequence[Strand], source: Reader, target: Reader) -> Iterator[Links]:
    """For each strand the first order of its sources which makes the target's values, if any does."""
    gaps = Gaps(source, target)
    for strand in suspects:
        ways = _ways(strand.links, source.header, target.header)
        found = next((links for links in ways if gaps.gap(links) <= EQUAL), None)
        if found is not None:
            yield found


def _ways(links: Links, source: Header, target: Header) -> Iterator[Links]:
    yield from (way[0] for way in layouts((links,), source, target))
    if len(links) > 1:
        return
    link = links[0]
    others = [replace(link, sources=order) for order in _orders(link.sources)] + [
        replace(link, targets=order) for order in _orders(link.targets)
    ]
    yield from ((other,) for other in others if not refused((other,), source, target))


def _orders(keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [order for order in permutations(keys) if order != keys] if 1 < len(keys) <= _MOST_PARTS else []
