"""Few patterns which match some keys of a table, and nothing else in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ckpt_surgeon.keys.matching import matching
from ckpt_surgeon.keys.pattern import Pattern, quoted

__all__ = ["covering"]

_DIGITS = re.compile("([0-9]+)")
_STARS = re.compile(r"\*+")
_WILD = re.compile(r"[*{}]|^re:")
_MOST_TAIL = 3  # segments at the end of a key by which `**.norm.bias` names it


@dataclass(frozen=True, slots=True)
class _Alike:
    """Keys which differ in nothing but numbers, one pattern for all, and whether they are wanted."""

    members: tuple[str, ...]
    pattern: str
    is_wanted: bool


def covering(wanted: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """The patterns, in the order of the first wanted keys which they match. names: the whole table."""
    if not wanted:
        return ()
    if len(wanted) == len(names):
        return ("**",)
    asked, names = set(wanted), dict.fromkeys(names)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(tuple(_DIGITS.split(name)[::2]), []).append(name)
    alike = [each for members in groups.values() for each in _alike(members, asked)]
    known = {name for each in alike for name in each.members}
    mixed = [name for name in names if name not in known]
    chosen, stuck = _fewest(alike, mixed)
    chosen += _by_module([*mixed, *stuck], names, asked)
    return _ordered(chosen, wanted) if _is_exact(chosen, asked, names) else tuple(map(quoted, wanted))


def _is_mixed(members: Sequence[str], asked: set[str]) -> bool:
    return 0 < sum(name in asked for name in members) < len(members)


def _alike(members: Sequence[str], asked: set[str]) -> list[_Alike]:
    """The members as one group; those which are wanted as another, where some are and one pattern tells them from the rest."""
    if not _is_mixed(members, asked):
        return [_Alike(tuple(members), _pattern(members), members[0] in asked)]
    wanted = [name for name in members if name in asked]
    pattern, rest = _pattern(wanted), [name for name in members if name not in asked]
    if matching([Pattern.parse(pattern)], rest):
        return []
    return [_Alike(tuple(wanted), pattern, True), _Alike(tuple(rest), _pattern(rest), False)]


def _pattern(members: Sequence[str]) -> str:
    """One pattern for all: stars where their numbers differ."""
    parts = [_DIGITS.split(name) for name in members]
    first = list(parts[0])
    for at in range(1, len(first), 2):
        if any(part[at] != first[at] for part in parts):
            first[at] = "*"
    return "".join(first)


def _fewest(groups: Sequence[_Alike], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """Patterns for the groups which are wanted, the one for most of them first, none of which matches another key; and keys without one."""
    asked = {each.members[0]: each for each in groups if each.is_wanted}
    harmed = [*(each.members[0] for each in groups if not each.is_wanted), *others]
    found: dict[str, list[str]] = {}
    for text in dict.fromkeys(text for each in asked.values() for text in _patterns(each)):
        pattern = Pattern.parse(text)
        if not any(pattern.match(name) is not None for name in harmed):
            found[text] = [name for name in asked if pattern.match(name) is not None]
    reached = {name for names in found.values() for name in names}
    chosen: list[str] = []
    waiting = set(reached)
    while waiting:
        best = max(found, key=lambda text: (len(waiting.intersection(found[text])), -len(_STARS.findall(text))))  # of equals the first
        chosen.append(best)
        waiting -= set(found[best])
    return chosen, [name for first, each in asked.items() if first not in reached for name in each.members]


def _patterns(each: _Alike) -> Iterator[str]:
    """What may stand for a group: itself, the modules in which it stands, the ends of its name; nothing for a name like a pattern."""
    if _WILD.search(each.members[0]):
        return
    segments = each.pattern.split(".")
    yield each.pattern
    yield from (".".join(segments[:n]) + ".*" for n in (len(segments) - 1,) if n)
    yield from (".".join(segments[:n]) + ".**" for n in range(1, len(segments) - 1))
    yield from ("**." + ".".join(segments[-n:]) for n in range(min(_MOST_TAIL, len(segments) - 1), 0, -1))


def _by_module(mixed: Sequence[str], names: Collection[str], asked: set[str]) -> Iterator[str]:
    """For each wanted one of these keys the highest module in which all keys are wanted; the key itself where there is none."""
    every, ours = Counter(_paths(names)), Counter(_paths(asked))
    for name in mixed:
        if name not in asked:
            continue
        path = next((path for path in _paths([name]) if every[path] == ours[path] > 1 and not _WILD.search(path)), "")
        yield f"{path}.**" if path else quoted(name)


def _paths(names: Iterable[str]) -> Iterator[str]:
    """The modules of each name, from the outermost."""
    for name in names:
        at = name.find(".")
        while at >= 0:
            yield name[:at]
            at = name.find(".", at + 1)


def _ordered(texts: Sequence[str], wanted: Collection[str]) -> tuple[str, ...]:
    """The texts by the first key which each matches."""
    places = {name: at for at, name in enumerate(wanted)}
    firsts = {text: min(at for name, at in places.items() if Pattern.parse(text).match(name) is not None) for text in texts}
    return tuple(sorted(firsts, key=lambda text: firsts[text]))


def _is_exact(texts: Sequence[str], asked: set[str], names: Collection[str]) -> bool:
    patterns = [Pattern.parse(text) for text in dict.fromkeys(texts)]
    return set(matching(patterns, names)) == asked
