"""Links -> the entries of a rules file which carry them out: leave out, rename, copy, change; as few as are found."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from ckpt_surgeon.keys.pattern import quoted
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.mapping.writing.changing import change_entries
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.naming import Naming, name_ops, named
from ckpt_surgeon.mapping.writing.wholes import whole_renames
from ckpt_surgeon.ops.protocol import NameOp
from ckpt_surgeon.spec import Header

__all__ = ["Entries", "Entry", "entries_of", "entry_of", "is_writable", "one_or_many"]

_WILD = re.compile(r"[*{}]|^re:")
_FEW_COPIES = 2

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entries:
    """What stands under `rules:`, and what each key of the source is called at the end which no link takes."""

    entries: tuple[Entry, ...]
    names: Mapping[str, str]


@dataclass(slots=True)
class _Work:
    """Links, sorted by what has to happen to names first.

    goals: source key -> the name under which it is wanted. parts: source keys which an op takes with others, or takes apart.
    copies: (source key, another name for its tensor). changes: links with an op; what it takes and gives is of one name where it stays.
    """

    goals: dict[str, str] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    copies: list[tuple[str, str]] = field(default_factory=list)
    changes: list[Link] = field(default_factory=list)


def is_writable(link: Link) -> bool:
    """Whether its targets can be written in a rule, which takes stars and braces for patterns; a name which stays is never written."""
    return link.sources == link.targets or not any(not key or _WILD.search(key) for key in link.targets)


def entries_of(links: Sequence[Link], unused: Collection[str], source: Header, target: Header, *, literal: Collection[str] = ()) -> Entries:
    """The entries, in the order in which they run. unused: source keys to leave out. literal: source keys to be renamed by themselves.

    Raises RulesError where an op finds no source.
    """
    dropped = [_dropping(unused, source)] if unused else []
    gone = set(unused)
    left = [key for key in source.entries if key not in gone]
    work = _sorted(links, source, target)
    work.goals |= _aside(work, left, links)
    odd = {key: place for key, place in work.goals.items() if key in literal or _WILD.search(key)}
    moves = {key: place for key, place in work.goals.items() if key not in odd}
    naming = Naming(moves, tuple(key for key in left if key not in moves), target.entries)
    ops = name_ops(naming)
    names = named(ops, naming)
    pairs = {quoted(names[key]): place for key, place in odd.items() if names[key] != place}
    names |= odd
    copies = [(names[key], place) for key, place in work.copies]
    table = [*names.values(), *(place for _, place in copies)]
    changes = [_renamed(link, names) for link in work.changes]
    entries = [*dropped, *map(entry_of, ops), *([{"rename": pairs}] if pairs else []), *_copies(copies, table, literal=bool(literal))]
    return Entries((*entries, *change_entries(changes, table, target)), names)


def _dropping(unused: Collection[str], source: Header) -> Entry:
    """What leaves these keys out: `drop`, or `keep` where that is shorter."""
    gone = set(unused)
    drop = covering([key for key in source.entries if key in gone], source.entries)
    keep = covering([key for key in source.entries if key not in gone], source.entries)
    return {"keep": one_or_many(keep)} if 0 < len(keep) < len(drop) else {"drop": one_or_many(drop)}


def one_or_many(texts: Sequence[str]) -> str | list[str]:
    """A list of one text as the text."""
    return texts[0] if len(texts) == 1 else list(texts)


def _sorted(links: Sequence[Link], source: Header, target: Header) -> _Work:
    """Each source key goes where it is wanted alone, at most once; wherever else it is wanted it is copied."""
    work = _Work()
    for link in sorted(links, key=_is_many):  # who is wanted by itself has its name before it is wanted for a part
        is_single = not _is_many(link) and link.sources[0] in source.entries
        if is_single and _goes(work, link, target):
            work.changes += [replace(link, sources=link.targets)] if link.change else []
        elif not is_single:
            work.changes.append(replace(link, sources=tuple(_part(work, key, source) for key in link.sources)))
    return work


def _is_many(link: Link) -> bool:
    return len(link.sources) > 1 or len(link.targets) > 1


def _goes(work: _Work, link: Link, target: Header) -> bool:
    """The key takes the place, or a copy does; False where neither is needed, since the target ties the place to where it goes."""
    (key,), (place,) = link.sources, link.targets
    goal = work.goals.setdefault(key, place)
    if goal == place:
        return True
    if link.change is None and place in target.entries and target.canonical(place) == target.canonical(goal):
        return False
    work.copies.append((key, place))
    return True


def _part(work: _Work, key: str, source: Header) -> str:
    """The name under which a part is found: its own, unless it has gone elsewhere; then a copy's."""
    if key not in source.entries:
        return key
    if key not in work.goals and key not in work.parts:
        work.parts.add(key)
        return key
    copy = f"{key}.copy{sum(1 for one, _ in work.copies if one == key) or ''}"
    work.copies.append((key, copy))
    return copy


def _aside(work: _Work, keys: Iterable[str], links: Iterable[Link]) -> dict[str, str]:
    """Other names for keys which go nowhere by themselves, and stand where something else is to go."""
    makers = {key: link for link in links for key in link.targets}
    return {
        key: f"{key}.aside"
        for key in keys
        if key not in work.goals and key in makers and not (key in work.parts and key in makers[key].sources)
    }


def _renamed(link: Link, names: Mapping[str, str]) -> Link:
    """The link with its parts by the names which they have in the table."""
    return link if link.sources == link.targets else replace(link, sources=tuple(names.get(key, key) for key in link.sources))


def _copies(copies: Sequence[tuple[str, str]], names: Collection[str], *, literal: bool) -> list[Entry]:
    rest = list(copies)
    entries: list[Entry] = []
    while rest:
        layer: dict[str, str] = {}
        rest = [pair for pair in rest if layer.setdefault(*pair) != pair[1]]
        if literal or len(layer) <= _FEW_COPIES:
            entries.append({"copy": {quoted(key): place for key, place in layer.items()}})
        else:
            entries += [{"copy": pairs} for pairs in whole_renames({**{key: key for key in names}, **layer})]
    return entries


def entry_of(op: NameOp) -> Entry:
    """An op on names as a file holds it."""
    from ckpt_surgeon.rules.rendering import document_of
    from ckpt_surgeon.rules.rule import Rule, Rules

    entry: Entry = document_of(Rules((Rule(op),)))["rules"][0]
    return entry
