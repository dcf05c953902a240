"""Tally: the sums behind a Distance, added up piece by piece. Imports torch, and is imported on use.

Inside a piece sums are float64; between pieces they are exact, as fractions, so that neither the size of a tensor nor that of its numbers
tells: squares of 1e200 and of 1e-200 have their place.
"""

from __future__ import annotations

from fractions import Fraction
from math import frexp, isfinite, ldexp, sqrt

import torch
from torch import Tensor

from ckpt_surgeon.comparison import Distance
from ckpt_surgeon.distance.numbers import differing_bits, numbers_of
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import DType

__all__ = ["Tally"]

# Below this a sum may have lost terms whose products were too small for float64; above, what is lost is too small to count.
_LEAST_SUM = 2.0**-900
_INFINITY = float("inf")


class Tally:
    """What two tensors of these dtypes came to so far; both have arithmetic, or both are the same."""

    def __init__(self, source: DType, target: DType) -> None:
        self._dtypes = source, target
        self._parts = 2 if source.is_complex or target.is_complex else 1
        self._elements = self._differing = self._left_out = 0
        self._nan = [0, 0]
        self._max_abs = 0.0
        self._squares = [Fraction(0)] * 3  # of the source, the target, the difference
        self._product = Fraction(0)

    def add(self, source: bytes, target: bytes) -> None:
        """Add a piece: the same elements of both tensors, at least one."""
        first, second = self._dtypes
        self._elements += len(target) // second.itemsize
        if first == second:
            self._differing += differing_bits(source, target, first.itemsize)
        if first.is_packed:
            return
        a = numbers_of(source, first, self._parts)
        b = a if first == second and source == target else numbers_of(target, second, self._parts)
        piece = _Piece(a.rounded, b.rounded, a.minus(b))
        if not bool(torch.isfinite(piece.gap.sum())):
            piece = self._without_oddities(piece)
        if first != second:
            self._differing += int(piece.gap.any(1).count_nonzero())
        self._add_sums(piece)

    def _without_oddities(self, piece: _Piece) -> _Piece:
        """The same piece with 0 in the place of NaN and infinities, once they are counted."""
        a, b, gap = piece.source, piece.target, piece.gap
        nan_a, nan_b = a.isnan().any(1), b.isnan().any(1)
        out = nan_a | nan_b
        self._nan[0] += int(nan_a.count_nonzero())
        self._nan[1] += int(nan_b.count_nonzero())
        self._left_out += int(out.count_nonzero())
        if self._dtypes[0] != self._dtypes[1]:
            self._differing += int((nan_a ^ nan_b).count_nonzero())
        gap = gap.masked_fill(out[:, None] | (a == b), 0)
        odd = out[:, None] | a.isinf() | b.isinf()
        return _Piece(a.masked_fill(odd, 0), b.masked_fill(odd, 0), gap)

    def _add_sums(self, piece: _Piece) -> None:
        self._max_abs = max(self._max_abs, piece.largest)
        if not isfinite(self._max_abs):
            return
        sides = (piece.source, piece.target, piece.gap)
        self._squares = [total + _dot(side, side) for total, side in zip(self._squares, sides, strict=True)]
        self._product += _dot(piece.source, piece.target)

    @property
    def distance(self) -> Distance:
        """What all pieces come to together."""
        nan = self._nan[0], self._nan[1]
        if self._dtypes[0].is_packed or self._left_out == self._elements:
            return Distance(self._elements, self._differing, nan)
        return Distance(self._elements, self._differing, nan, self._max_abs, self._relative(), self._cosine())

    def _relative(self) -> float:
        _, target, gap = self._squares
        if not isfinite(self._max_abs) or (gap and not target):
            return _INFINITY
        return _root(gap / target) if gap else 0.0

    def _cosine(self) -> float | None:
        source, target, _ = self._squares
        if not isfinite(self._max_abs) or not source or not target:
            return None
        size = min(_root(self._product**2 / (source * target)), 1.0)
        return size if self._product > 0 else -size


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of both tensors and their difference, each f64[n, 1] or, complex, f64[n, 2]."""

    source: Tensor
    target: Tensor
    gap: Tensor

    @property
    def largest(self) -> float:
        """The largest absolute difference of two elements."""
        gap = self.gap
        return float((gap.abs() if gap.shape[1] == 1 else torch.hypot(gap[:, 0], gap[:, 1])).max())


def _dot(first: Tensor, second: Tensor) -> Fraction:
    """The sum of the products of all elements, which are finite, whatever their size."""
    plain = float((first * second).sum())
    if isfinite(plain) and abs(plain) > _LEAST_SUM:
        return Fraction(plain)
    (a, power), (b, other) = _scaled(first), _scaled(second)
    return Fraction(float((a * b).sum())) * Fraction(2) ** (power + other)


def _scaled(tensor: Tensor) -> tuple[Tensor, int]:
    """The tensor divided by a power of two, so that the largest element is about 1; and the exponent."""
    power = frexp(float(tensor.abs().max()))[1]
    # In two steps, since the power itself may be out of range.
    return tensor * ldexp(1.0, -(power // 2)) * ldexp(1.0, -(power - power // 2)), power


def _root(square: Fraction) -> float:
    """The square root; infinite where float64 has no such number."""
    half = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    try:
        return ldexp(sqrt(square / Fraction(4) ** half), half)
    except OverflowError:
        return _INFINITY
