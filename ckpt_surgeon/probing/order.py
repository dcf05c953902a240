"""Headers in the order in which a run uses their tensors: then places tell something, whatever the order of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ckpt_surgeon.mapping import links
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.probing.running import Trace
from ckpt_surgeon.spec import Header

__all__ = ["match_in_order"]


def match_in_order(source: Header, target: Header, traces: tuple[Trace, Trace], names: Mapping[str, str]) -> links.Mapping:
    """What `match` finds of the headers in the order of the traces, told in the order of the headers.

    traces: of the source's model and of the target. names: the source module's keys -> SOURCE's keys.
    """
    places = {name: place for key, name in names.items() if (place := _place(key, traces[0])) is not None}
    found = match(_ordered(source, places), _ordered(target, {key: _place(key, traces[1]) for key in target}))
    at = {key: place for place, key in enumerate(target)}
    families = sorted(found.families, key=lambda family: min(at.get(key, len(at)) for link in family.links for key in link.targets))
    missing, unused = set(found.missing), set(found.unused)
    return links.Mapping(tuple(families), tuple(key for key in target if key in missing), tuple(key for key in source if key in unused))


def _place(key: str, trace: Trace) -> int | None:
    """When the part to which a key belongs was first called."""
    return trace.first_calls.get(key.rpartition(".")[0])


def _ordered(header: Header, places: Mapping[str, int | None]) -> Header:
    """The header sorted by places; a key without one follows the key before it."""
    ranks: list[int] = []
    for key in header:
        place = places.get(key)
        ranks.append(place if place is not None else ranks[-1] if ranks else 0)
    order = sorted(zip(ranks, range(len(ranks)), header, strict=True))
    return replace(header, entries={key: header.entries[key] for _, _, key in order})
