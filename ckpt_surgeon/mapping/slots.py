"""Tensors which a training keeps beneath each weight: slots of its optimizer, no part of the model, and averages, which may be meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.links import Alternative, Family, Link
from ckpt_surgeon.mapping.synonyms import TWINS
from ckpt_surgeon.mapping.words import meanings
from ckpt_surgeon.spec import Header

__all__ = ["asked", "without_slots"]

_LAST_DOT = re.compile(r"[./](?=[^./]*$)")
_DOUBT = "averages of the weights, or another copy, stand beside them: which are meant is one decision for all"


def without_slots(header: Header) -> tuple[Header, dict[str, str]]:
    """The header without tensors which stand beneath one of the same shape, and the averages among them by what they average."""
    specs = header.tensors
    owners = {key: owner for key in specs if (owner := _owner(key)) in specs and owner != key and specs[owner].shape == specs[key].shape}
    averages = {owner: key for key, owner in owners.items() if _is_average(key[len(owner) :])}
    if not owners:
        return header, {}
    return Header({key: entry for key, entry in header.entries.items() if key not in owners}), averages


def _owner(key: str) -> str:
    return _LAST_DOT.split(key)[0]


def _is_average(name: str) -> bool:
    words = meanings((name,))
    return "average" in words or not TWINS.isdisjoint(words)


def asked(families: Sequence[Family], averages: Mapping[str, str]) -> tuple[Family, ...]:
    """The families; links from weights which have averages, or another copy, are a question of their own, with these as alternatives."""
    return tuple(part for family in families for part in _parted(family, averages)) if averages else tuple(families)


def _parted(family: Family, averages: Mapping[str, str]) -> Iterator[Family]:
    meant = {target for link in family.links if not averages.keys().isdisjoint(link.sources) for target in link.targets}
    meant |= {target for link in family.links if not meant.isdisjoint(link.sources) for target in link.targets}
    plain = tuple(link for link in family.links if meant.isdisjoint(link.targets))
    open_links = tuple(link for link in family.links if not meant.isdisjoint(link.targets))
    if plain:
        yield replace(family, links=plain)
    if open_links:
        other = Alternative(tuple(_averaged(link, averages) for link in open_links), BOTH_WAYS, "the copy beside them")
        doubt = "; ".join(filter(None, (family.doubt, _DOUBT)))
        others = (each for each in family.alternatives if each.links != other.links)
        yield Family(open_links, family.confidence * BOTH_WAYS, family.why, doubt, (other, *others))


def _averaged(link: Link, averages: Mapping[str, str]) -> Link:
    return replace(link, sources=tuple(averages.get(key, key) for key in link.sources))
