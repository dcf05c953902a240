"""Distances spread as a geometric progression, and linear interpolation between them; plain numbers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["geometric_weights"]

_LEAST, _MOST, _PRECISION = 1.01, 1.5, 1e-6  # BEiT's bounds of the ratio, and how near it is sought


def geometric_weights(old: int, new: int) -> list[list[float]]:
    """`[new, old]`: what each of `old` values, spread from -(new // 2) to new // 2, weighs at each whole number between. Both are odd.

    The distances of the spread grow by one ratio from 1 at the middle on; beyond the last one its value holds.
    Source: BEiT's `run_class_finetuning.py`, and timm's `resize_rel_pos_bias_table`.
    """
    spread = _spread(old, new)
    return [_weights(spread, float(at)) for at in range(-(new // 2), new // 2 + 1)]


def _spread(old: int, new: int) -> list[float]:
    ratio = _ratio(old // 2, new // 2)
    distances = list(accumulate(ratio**i for i in range(old // 2)))
    return [*(-distance for distance in reversed(distances)), 0.0, *distances]


def _ratio(steps: int, reach: int) -> float:
    """The ratio, by bisection, whose first powers add up to `reach`."""
    left, right = _LEAST, _MOST
    while right - left > _PRECISION:
        ratio = (left + right) / 2
        if (1 - ratio**steps) / (1 - ratio) > reach:
            right = ratio
        else:
            left = ratio
    return ratio


def _weights(places: Sequence[float], at: float) -> list[float]:
    """The weights of the values at ascending places, for the value at a place between two of them; at the ends, of one."""
    weights = [0.0] * len(places)
    right = min(bisect_left(places, at), len(places) - 1)
    left = max(right - 1, 0)
    if at >= places[right] or right == left:
        weights[right] = 1.0
        return weights
    share = (at - places[left]) / (places[right] - places[left])
    weights[left], weights[right] = 1.0 - share, share
    return weights
