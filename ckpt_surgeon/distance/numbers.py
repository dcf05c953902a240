"""The elements of a piece of a tensor as float64, without loss; imports torch, and is imported on use."""

from __future__ import annotations

import torch
from torch import Tensor

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import DType

__all__ = ["Numbers", "differing_bits", "numbers_of"]

_LOW_BITS = 32  # of a 64-bit integer: either half is exact in float64
_LOW_MASK = (1 << _LOW_BITS) - 1
# What stands for the bits of an element; wider ones are several words.
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Elements as f64[n, 1], complex ones as f64[n, 2]; each is exactly `high + low` (no `low`: 0), of 64-bit integers only."""

    high: Tensor
    low: Tensor | None = None

    @property
    def rounded(self) -> Tensor:
        """The elements, each rounded to float64 once."""
        return self.high if self.low is None else self.high + self.low

    def minus(self, other: Numbers) -> Tensor:
        """The differences; 0 only where two elements are equal."""
        gap = self.high - other.high
        if self.low is None and other.low is None:
            return gap
        low = torch.zeros_like(gap) if self.low is None else self.low
        return gap + (low if other.low is None else low - other.low)


def numbers_of(data: bytes, dtype: DType, parts: int) -> Numbers:
    """The elements of contiguous little-endian bytes; `parts` is 2 where the other tensor is complex, and then so is this one."""
    high, low = _halves(bytearray(data), dtype)
    if high.shape[1] == parts:
        return Numbers(high, low)
    # The imaginary part of a real number is 0.
    return Numbers(torch.nn.functional.pad(high, (0, 1)), low if low is None else torch.nn.functional.pad(low, (0, 1)))


def _halves(data: bytearray, dtype: DType) -> tuple[Tensor, Tensor | None]:
    if dtype.is_complex:
        part = getattr(torch, f"float{4 * dtype.itemsize}")  # half of the bytes, in bits
        return torch.frombuffer(data, dtype=part).to(torch.float64).view(-1, 2), None
    if dtype.name == "bool":
        return torch.frombuffer(data, dtype=torch.uint8).ne(0).to(torch.float64).view(-1, 1), None
    if dtype.name not in ("int64", "uint64"):
        return torch.frombuffer(data, dtype=getattr(torch, dtype.name)).to(torch.float64).view(-1, 1), None
    whole = torch.frombuffer(data, dtype=torch.int64).view(-1, 1)
    high = whole >> _LOW_BITS
    if not dtype.signed:
        high &= _LOW_MASK
    return high.to(torch.float64) * (1 << _LOW_BITS), (whole & _LOW_MASK).to(torch.float64)


def differing_bits(first: bytes, second: bytes, itemsize: int) -> int:
    """How many elements of `itemsize` bytes differ in their bits."""
    if first == second:
        return 0
    dtype = _WORDS[min(itemsize, max(_WORDS))]
    differs = torch.frombuffer(bytearray(first), dtype=dtype) != torch.frombuffer(bytearray(second), dtype=dtype)
    words = itemsize // dtype.itemsize
    return int((differs if words == 1 else differs.view(-1, words).any(1)).count_nonzero())
