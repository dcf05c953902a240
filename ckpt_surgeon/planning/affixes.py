"""Moves of keys told in few words: where whole subtrees moved alike, by their prefixes. Pure, on texts alone."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["MAX_PREFIX", "longest_prefix", "shortened"]

# Characters of a prefix in the source. A reader puts it before each of many keys, so a stranger's must not be long.
MAX_PREFIX: Final = 1024

_Moves = Mapping[str, tuple[int, tuple[str, ...]]]
_Prefixes = dict[str, tuple[int, str]]
_Stem = tuple[str, int, str]  # prefix, way, what stood in its place


def shortened(moves: _Moves, keys: Sequence[str] | None = None) -> tuple[_Prefixes, dict[str, tuple[int, tuple[str, ...]]]]:
    """`key -> (way, sources)` as prefixes, and the keys of which these do not tell the truth. keys: sorted, if they are so already.

    Way 0 with the key itself is what holds where nothing is told.

    >>> shortened({"conv.weight": (1, ("module.conv.weight",)), "conv.bias": (1, ("module.conv.bias",)), "fc.bias": (2, ())})
    ({'': (1, 'module.')}, {'fc.bias': (2, ())})
    """
    keys = sorted(moves) if keys is None else keys
    stems = _stems(moves)
    prefixes = _elected(stems, keys)
    moved_as_one = len(prefixes) == len(stems) == 1 and stems.total() == len(keys)
    untold = [] if moved_as_one else _untold(moves, prefixes, keys)
    if untold:
        prefixes |= _elected(Counter(_module(key, moves[key]) for key in untold if len(moves[key][1]) == 1), keys)
        untold = _untold(moves, prefixes, keys)
    if prefixes.get("") == (0, ""):
        del prefixes[""]
    return prefixes, {key: moves[key] for key in untold}


def longest_prefix(key: str, prefixes: Mapping[str, object]) -> str | None:
    """The longest of the prefixes with which a key starts; they end with a dot, or are empty.

    >>> longest_prefix("a.b.c", {"a.": 1, "a.b.c.": 2, "": 3})
    'a.'
    """
    end = len(key)
    while end >= 0:
        end = key.rfind(".", 0, end) + 1
        if key[:end] in prefixes:
            return key[:end]
        end -= 1
    return None


def _stems(moves: _Moves) -> Counter[_Stem]:
    """How many keys moved by each stem, which is what of the two names is left where they end alike."""
    votes: Counter[_Stem] = Counter()
    stem: _Stem = ("", 0, "")
    for key, (way, sources) in moves.items():
        if len(sources) != 1:
            continue
        # Most keys move as the one before: then two comparisons of texts are all.
        prefix, known, source = stem
        if way != known or sources[0] != source + key[len(prefix) :] or not key.startswith(prefix):
            stem = _stem(key, way, sources[0])
        votes[stem] += 1
    return votes


def _stem(key: str, way: int, source: str) -> _Stem:
    """A move without the whole segments on which its names end alike: `a.b.c` from `x.b.c` is `a.` from `x.`."""
    end = len(key)
    while end > 0:
        cut = key.rfind(".", 0, end - 1) + 1
        mark = len(source) - len(key) + cut
        if mark < 0 or not source.endswith(key[cut:]) or (mark > 0 and source[mark - 1] != "."):
            break
        end = cut
    return key[:end], way, source[: len(source) - len(key) + end]


def _module(key: str, move: tuple[int, tuple[str, ...]]) -> _Stem:
    """The move of the module in which a key stands; where its last segment changed, a stem which is no prefix."""
    way, (source,) = move
    cut, mark = key.rfind(".") + 1, source.rfind(".") + 1
    return (key[:cut], way, source[:mark]) if key[cut:] == source[mark:] else (key, way, source)


def _elected(votes: Counter[_Stem], keys: Sequence[str]) -> _Prefixes:
    """The stems by which most of all keys moved which start so. keys: all of them, sorted."""
    found: _Prefixes = {}
    for (prefix, way, source), count in votes.items():
        if all(text == "" or text.endswith(".") for text in (prefix, source)) and len(source) <= MAX_PREFIX:
            begin, end = _range(prefix, keys)
            if 2 * count > end - begin:
                found[prefix] = way, source
    return found


def _untold(moves: _Moves, prefixes: _Prefixes, keys: Sequence[str]) -> list[str]:
    """The keys of which the longest of the prefixes does not tell the truth."""
    told: list[_Stem] = [("", 0, "")] * len(keys)
    for prefix in sorted(prefixes, key=len):
        begin, end = _range(prefix, keys)
        told[begin:end] = [(prefix, *prefixes[prefix])] * (end - begin)
    return [key for key, (prefix, way, source) in zip(keys, told, strict=True) if moves[key] != (way, (source + key[len(prefix) :],))]


def _range(prefix: str, keys: Sequence[str]) -> tuple[int, int]:
    """Where among sorted keys those stand which start with a prefix, which is empty or ends with a dot."""
    if not prefix:
        return 0, len(keys)
    after = prefix[:-1] + chr(ord(".") + 1)
    return bisect_left(keys, prefix), bisect_left(keys, after)
