"""Few patterns which match some keys of a table, and nothing else in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ckpt_surgeon.keys.matching import matching
from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.selection import Selection

__all__ = ["covering"]

_DIGITS = re.compile("([0-9]+)")
_STARS = re.compile(r"\*+")
_WILD = re.compile(r"[*{}]|^re:")
_MOST_TRIED = 400_000  # patterns on names, to find the fewest; names which have nothing in common are named by their modules
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
    chosen, stuck = _fewest(alike)
    chosen += _by_module(stuck, names, asked)
    return _ordered(chosen, wanted) if _is_exact(chosen, asked, names) else tuple(map(quoted, wanted))


def _alike(members: Sequence[str], asked: set[str]) -> list[_Alike]:
    """The members as one group; as several by one of their numbers, where some are wanted and others are not."""
    wanted = [name for name in members if name in asked]
    if len(wanted) in (0, len(members)):
        return [_Alike(tuple(members), _pattern(members), bool(wanted))]
    rest = [name for name in members if name not in asked]
    if not matching([Pattern.parse(_pattern(wanted))], rest):
        return [_Alike(tuple(wanted), _pattern(wanted), True), _Alike(tuple(rest), _pattern(rest), False)]
    parts = min(_by_number(members), key=lambda parts: (sum(_is_mixed(part, asked) for part in parts), len(parts)))
    return [each for part in parts for each in _alike(part, asked)]


def _by_number(members: Sequence[str]) -> Iterator[list[list[str]]]:
    """The members in parts, by each of the numbers in which they differ."""
    rows = [_DIGITS.split(name) for name in members]
    for at in range(1, len(rows[0]), 2):
        parts: dict[str, list[str]] = {}
        for name, row in zip(members, rows, strict=True):
            parts.setdefault(row[at], []).append(name)
        if len(parts) > 1:
            yield list(parts.values())


def _is_mixed(members: Sequence[str], asked: set[str]) -> bool:
    return 0 < sum(name in asked for name in members) < len(members)


def _pattern(members: Sequence[str]) -> str:
    """One pattern for all: stars where their numbers differ."""
    parts = [_DIGITS.split(name) for name in members]
    first = list(parts[0])
    for at in range(1, len(first), 2):
        if any(part[at] != first[at] for part in parts):
            first[at] = "*"
    return "".join(first)


def _fewest(groups: Sequence[_Alike]) -> tuple[list[str], list[str]]:
    """Patterns for the groups which are wanted, the one for most of them first, none of which matches another key; and keys without one."""
    asked = {each.members[0]: each for each in groups if each.is_wanted}
    harmed = [each.members[0] for each in groups if not each.is_wanted]
    found: dict[str, list[str]] = {}
    texts = dict.fromkeys(text for each in asked.values() for text in _patterns(each))
    if len(texts) * len(groups) > _MOST_TRIED:
        return [], [name for each in asked.values() for name in each.members]
    for text in texts:
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
    """What may stand for a group: itself, the modules in which it stands, the ends of its name; nothing for a name which is none."""
    if _WILD.search(each.members[0]) or not each.pattern:
        return
    segments = each.pattern.split(".")
    yield each.pattern
    yield from (".".join(segments[:n]) + ".*" for n in (len(segments) - 1,) if n)
    yield from (".".join(segments[:n]) + ".**" for n in range(1, len(segments) - 1))
    yield from ("**." + ".".join(segments[-n:]) for n in range(min(_MOST_TAIL, len(segments) - 1), 0, -1))


def _by_module(stuck: Sequence[str], names: Collection[str], asked: set[str]) -> Iterator[str]:
    """For each of these keys the highest module in which all keys are wanted; the key itself where there is none."""
    every, ours = Counter(_paths(names)), Counter(_paths(asked))
    for name in stuck:
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
    firsts = {text: places[text] if text in places else _first(Pattern.parse(text), places) for text in texts}
    return tuple(sorted(firsts, key=lambda text: firsts[text]))


def _first(pattern: Pattern, places: Mapping[str, int]) -> int:
    return next(at for name, at in places.items() if pattern.match(name) is not None)


def _is_exact(texts: Sequence[str], asked: set[str], names: Collection[str]) -> bool:
    selection = Selection.of(list(dict.fromkeys(texts)))
    return {name for name in names if selection.matches(name)} == asked
