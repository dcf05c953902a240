"""Two names, segment by segment: what stays, and the hunks in which they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Hunk", "aligned"]


@dataclass(frozen=True, slots=True)
class Hunk:
    """Segments `start` to `stop` of the one name stand where `first` to `last` of the other do; either may be none."""

    start: int
    stop: int
    first: int
    last: int


def aligned(source: Sequence[Any], target: Sequence[Any]) -> tuple[Hunk, ...]:
    """The hunks between the longest common subsequence's segments, in order; of several subsequences the one which stands furthest behind.

    >>> aligned(["layers", "0", "ln", "weight"], ["blocks", "0", "norm", "ln", "weight"])
    (Hunk(start=0, stop=1, first=0, last=1), Hunk(start=2, stop=2, first=2, last=3))
    """
    common = [*_common(source, target), (len(source), len(target))]
    hunks: list[Hunk] = []
    start = first = 0
    for stop, last in common:
        if stop > start or last > first:
            hunks.append(Hunk(start, stop, first, last))
        start, first = stop + 1, last + 1
    return tuple(hunks)


def _common(source: Sequence[Any], target: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """The places of a longest common subsequence; where both end alike it holds that end."""
    same = _shared_end(source, target)
    behind = ((len(source) - n, len(target) - n) for n in range(same, 0, -1))
    yield from (*_between(source[: len(source) - same], target[: len(target) - same]), *behind)


def _shared_end(source: Sequence[Any], target: Sequence[Any]) -> int:
    pairs = zip(reversed(source), reversed(target), strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(source), len(target)))


def _between(source: Sequence[Any], target: Sequence[Any]) -> Iterator[tuple[int, int]]:
    lengths = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, one in enumerate(source, 1):
        for j, other in enumerate(target, 1):
            lengths[i][j] = lengths[i - 1][j - 1] + 1 if one == other else max(lengths[i - 1][j], lengths[i][j - 1])
    found: list[tuple[int, int]] = []
    i, j = len(source), len(target)
    while i and j:
        if source[i - 1] == target[j - 1]:
            i, j = i - 1, j - 1
            found.append((i, j))
        elif lengths[i - 1][j] >= lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return reversed(found)
