"""What seems sure, and may lie otherwise all the same where the outputs differ: square matrices, rows of rotary queries and keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family
from ckpt_surgeon.probing.groups import Group, Links
from ckpt_surgeon.probing.layouts import is_query_or_key, rotary_layouts, turned
from ckpt_surgeon.spec import Header

__all__ = ["SecondLook", "second_looks"]


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A group of sure decisions, with other layouts, and what these are in words."""

    what: str
    group: Group


def second_looks(families: Sequence[Family], source: Header, target: Header) -> Iterator[SecondLook]:
    """Square matrices the other way: all, then those of one pair of last names; then queries and keys: all, then each attention's."""
    for members in _kinds({at: _last_names(family) for at, family in _square(families, source)}):
        matched = tuple(families[at].links for at in members)
        yield SecondLook("square matrices transposed", _group(members, matched, (turned(matched, source),)))
    for members in _kinds({at: _attention(family) for at, family in enumerate(families) if is_query_or_key(family.links)}):
        matched = tuple(families[at].links for at in members)
        layouts = tuple(rotary_layouts(matched, source, target))
        if layouts:
            yield SecondLook("rotary rows of queries and keys in the other order", _group(members, matched, layouts))


def _group(members: tuple[int, ...], matched: tuple[Links, ...], layouts: tuple[tuple[Links, ...], ...]) -> Group:
    return Group(members, tuple((links,) for links in matched), layouts)


def _kinds(kinds: dict[int, tuple[str, ...]]) -> list[tuple[int, ...]]:
    """All places, then those of each kind where there are several."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, kind in kinds.items():
        groups.setdefault(kind, []).append(at)
    found = [tuple(kinds), *(map(tuple, groups.values()) if len(groups) > 1 else ())]
    return [members for members in found if members]


def _square(families: Sequence[Family], source: Header) -> Iterator[tuple[int, Family]]:
    for at, family in enumerate(families):
        if turned((family.links,), source) != (family.links,):
            yield at, family


def _last_names(family: Family) -> tuple[str, ...]:
    link = family.links[0]
    return link.targets[0].rpartition(".")[2], link.sources[0].rpartition(".")[2]


def _attention(family: Family) -> tuple[str, ...]:
    """The part around a projection, in all its repetitions."""
    *around, _, _ = ("", "", *family.links[0].targets[0].split("."))
    return tuple(segment for segment in around if not segment.isdigit())
