"""A slow plain twin of the comparison of values: Python's numbers, one by one, and exact fractions."""

from fractions import Fraction
from math import inf, isinf, isnan, sqrt

import torch
from torch import Tensor

from ckpt_surgeon.comparison import Distance

__all__ = ["distance_of"]

Number = int | float | complex


def _numbers(tensor: Tensor) -> list[Number]:
    """The elements as Python's numbers, without loss."""
    flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    if flat.dtype is torch.complex32:
        flat = flat.to(torch.complex64)
    elif flat.dtype.is_floating_point and flat.itemsize == 1:
        flat = flat.to(torch.float32)
    return flat.tolist()


def _parts(number: Number) -> tuple[int | float, int | float]:
    return (number.real, number.imag) if isinstance(number, complex) else (number, 0)


def _is_nan(number: Number) -> bool:
    return any(isnan(part) for part in _parts(number))


def _words(tensor: Tensor) -> list[bytes]:
    data = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return [data[start : start + tensor.itemsize] for start in range(0, len(data), tensor.itemsize)]


def _differing(a: Tensor, b: Tensor, pairs: list[tuple[Number, Number]]) -> int:
    if a.dtype == b.dtype:
        return sum(first != second for first, second in zip(_words(a), _words(b), strict=True))
    return sum(first != second and not (_is_nan(first) and _is_nan(second)) for first, second in pairs)


def distance_of(a: Tensor, b: Tensor) -> Distance:
    """How far `a` is from `b`, as the documents say it."""
    pairs = list(zip(_numbers(a), _numbers(b), strict=True))
    nan = sum(_is_nan(first) for first, _ in pairs), sum(_is_nan(second) for _, second in pairs)
    kept = [pair for pair in pairs if not any(map(_is_nan, pair))]
    differing = _differing(a, b, pairs)
    if not kept:
        return Distance(len(pairs), differing, nan)
    reals = [parts for first, second in kept for parts in zip(_parts(first), _parts(second), strict=True)]
    if any((isinf(x) or isinf(y)) and x != y for x, y in reals):
        return Distance(len(pairs), differing, nan, inf, inf, None)
    gaps = [[_gap(x, y) for x, y in zip(_parts(first), _parts(second), strict=True)] for first, second in kept]
    max_abs = max(_root(sum(gap * gap for gap in both)) for both in gaps)
    if isinf(max_abs):
        return Distance(len(pairs), differing, nan, inf, inf, None)
    finite = [(Fraction(x), Fraction(y)) for x, y in reals if not isinf(x)]
    dd = sum(((x - y) ** 2 for x, y in finite), Fraction(0))
    aa, bb = (sum((pair[i] ** 2 for pair in finite), Fraction(0)) for i in range(2))
    ab = sum((x * y for x, y in finite), Fraction(0))
    relative = 0.0 if not dd else inf if not bb else _root(dd / bb)
    cosine = None if not aa or not bb else _root(ab * ab / (aa * bb)) * (1 if ab > 0 else -1)
    return Distance(len(pairs), differing, nan, max_abs, relative, cosine)


def _gap(x: int | float, y: int | float) -> Fraction:
    return Fraction(0) if x == y else Fraction(x) - Fraction(y)


def _root(square: Fraction | int) -> float:
    """The square root to some 60 bits."""
    if not square:
        return 0.0
    square = Fraction(square)
    power = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    root = Fraction(sqrt(square / Fraction(4) ** power)) * Fraction(2) ** power
    try:
        return float(root)
    except OverflowError:
        return inf
