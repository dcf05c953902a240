"""Questions asked of many patterns or many names at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["matches_any", "matching", "nearest"]

_LIKENESS = 70.0  # percent; `strip_prefx` is 96 % of strip_prefix, `drop` 0 % of fit
_MAX_WORD = 512  # characters; likeness takes time in the product of both lengths


def matches_any(patterns: Iterable[Pattern], key: str) -> bool:
    """Whether one of the patterns matches the key."""
    return any(pattern.match(key) is not None for pattern in patterns)


def matching(patterns: Sequence[Pattern], keys: Iterable[str]) -> list[str]:
    """The keys which one of the patterns matches, in order."""
    return [key for key in keys if matches_any(patterns, key)] if patterns else []


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word which is most like `word` (the first of equals), or None when none is near."""
    from rapidfuzz import fuzz, process

    names = list(known)
    found = process.extractOne(word[:_MAX_WORD], [name[:_MAX_WORD] for name in names], scorer=fuzz.ratio, score_cutoff=_LIKENESS)
    return None if found is None else names[found[2]]
