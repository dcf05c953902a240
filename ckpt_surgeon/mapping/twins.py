"""Whole copies of what was matched, left over under another prefix: teachers, momentum encoders. Which is meant is not to be seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ckpt_surgeon.mapping.calibration import BOTH_WAYS
from ckpt_surgeon.mapping.links import Family
from ckpt_surgeon.mapping.synonyms import TWINS
from ckpt_surgeon.mapping.words import meanings
from ckpt_surgeon.spec import Header

__all__ = ["copies"]

_SHARE = 0.9  # of all which is matched, from which another subtree is a copy of it
_FEWEST = 2  # tensors
_DEPTH = 3  # segments of a prefix, at most


def copies(families: Sequence[Family], source: Header) -> dict[str, str]:
    """Matched source key -> the key of its copy, where nearly all which is surely matched has one under one other prefix.

    None where that prefix says what it is: `ema`, `shadow`.
    """
    used = dict.fromkeys(key for family in families for link in family.links for key in link.sources if key in source.tensors)
    sure = [key for family in families if family.confidence > BOTH_WAYS for link in family.links for key in link.sources]
    matched = [key for key in dict.fromkeys(sure) if key in used]
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in matched:
        for prefix, rest in _cuts(key):
            places[rest].append((prefix, key))
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for key in source.tensors:
        if key not in used:
            for prefix, rest in _cuts(key):
                for other, own in places.get(rest, ()):
                    if other != prefix and source.tensors[own] == source.tensors[key]:
                        found[other, prefix][own] = key
    best = Counter({prefixes: len(pairs) for prefixes, pairs in found.items()}).most_common(1)
    if not best or best[0][1] < max(_FEWEST, _SHARE * len(matched)) or _says_average(best[0][0][1]):
        return {}
    return found[best[0][0]]


def _says_average(prefix: str) -> bool:
    """Whether a prefix says that what it holds is an average, which the model itself is not."""
    return not TWINS.isdisjoint(meanings(tuple(prefix.split("."))))


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """The key cut behind each of its first segments, and before them all."""
    segments = key.split(".")
    for depth in range(min(_DEPTH, len(segments) - 1) + 1):
        yield ".".join(segments[:depth]), ".".join(segments[depth:])
