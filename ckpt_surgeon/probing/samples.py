"""A few hundred elements of each tensor, which are enough to tell that two are not the same; read by ranges, never whole files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.planning import Derived, Recipe, Source
from ckpt_surgeon.probing.gaps import EQUAL
from ckpt_surgeon.spec import DType, TensorSpec

__all__ = ["SAMPLED", "Samples", "Standing", "compared", "in_common", "is_number", "narrower"]

_RUNS = 8  # places all over the tensor
_LENGTH = 32  # elements at each
SAMPLED = _RUNS * _LENGTH  # elements of a tensor which has more
_CORNER = 8  # rows and columns
_NEAR = 0.5  # of how far its elements lie apart: training moves a tensor by less, two which are strangers differ by 1.4

Standing = Literal["mute", "equal", "near", "unlike"]


class Samples:
    """The same places of what links make, and of what the target has."""

    def __init__(self, source: Reader, target: Reader) -> None:
        self._source, self._target = source, target
        self._evaluator = Evaluator({"": source})
        self._known: dict[tuple[str, str], Tensor] = {}

    def made(self, recipe: Recipe, spec: TensorSpec) -> Tensor:
        """Of what a recipe of this spec makes; it is computed whole where an op does more than move bytes."""
        if isinstance(recipe, Source):
            return self.given(recipe.key)
        ranges = self._evaluator.ranges(recipe)
        return _of_tensor(self._evaluator.tensor(recipe)) if ranges is None else _of_ranges(ranges, spec)

    def given(self, key: str) -> Tensor:
        """Of a tensor of the source."""
        return self._once("given", self._source, key)

    def wanted(self, key: str) -> Tensor:
        """Of a tensor of the target."""
        return self._once("wanted", self._target, key)

    def corner_given(self, key: str) -> Tensor:
        """The first rows and columns of a matrix of the source, which stay in their corner when it is transposed: `[k, k]`."""
        return _corner(self._source, key)

    def corner_wanted(self, key: str) -> Tensor:
        """Those of a matrix of the target."""
        return _corner(self._target, key)

    def _once(self, side: str, reader: Reader, key: str) -> Tensor:
        if (side, key) not in self._known:
            self._known[side, key] = _of_key(reader, key)
        return self._known[side, key]


def compared(found: Tensor, wanted: Tensor, recipe: Recipe) -> Standing:
    """How the samples of what a recipe makes stand to those of the target. Mute: equal, but one number, or an op was to change the values.

    Types are compared as the narrower of both; what is not a number on both sides is equal.
    """
    if _is_equal(found, wanted):
        return "mute" if bool((wanted == wanted[:1]).all()) else "equal"
    if not _is_exact(recipe):
        return "mute"
    first, second = found.double(), wanted.double()
    apart, spread = (float(torch.linalg.vector_norm(each)) for each in (first - second, second - second.mean()))
    return "near" if apart <= _NEAR * spread else "unlike"


def is_number(spec: object) -> bool:
    """Whether it is a tensor of real floats: whole numbers count, and index, and are the same in models of other weights."""
    return isinstance(spec, TensorSpec) and spec.dtype.is_float and not spec.dtype.is_complex and spec.numel > 0


def narrower(types: Sequence[DType]) -> torch.dtype:
    """The type of the fewest digits."""
    found: torch.dtype = getattr(torch, min(types, key=lambda dtype: dtype.precision).name)
    return found


def in_common(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Both as the narrower type of the two has them, in double."""
    dtype = max((found.dtype, wanted.dtype), key=lambda each: torch.finfo(each).eps)
    return found.to(dtype).double(), wanted.to(dtype).double()


def _is_exact(recipe: Recipe) -> bool:
    """Whether no op on the way changes values."""
    return not isinstance(recipe, Derived) or (recipe.op.contract == "exact" and all(map(_is_exact, recipe.inputs)))


def _is_equal(found: Tensor, wanted: Tensor) -> bool:
    first, second = in_common(found, wanted)
    if bool(((first == second) | (first.isnan() & second.isnan())).all()):
        return True
    return bool(torch.linalg.vector_norm(first - second) <= EQUAL * torch.linalg.vector_norm(second))


def _of_key(reader: Reader, key: str) -> Tensor:
    span, spec = reader.span(key), reader.header.tensors[key]
    return _of_tensor(reader.read(key)) if span is None else _of_ranges([span], spec)


def _corner(reader: Reader, key: str) -> Tensor:
    span, spec = reader.span(key), reader.header.tensors[key]
    k = min(_CORNER, *spec.shape)
    if span is None:
        return reader.read(key)[:k, :k]
    size, columns = spec.dtype.itemsize, spec.shape[1]
    data = b"".join(span.read(row * columns * size, k * size) for row in range(k))
    return torch.frombuffer(bytearray(data), dtype=getattr(torch, spec.dtype.name)).reshape(k, k)


def _of_tensor(tensor: Tensor) -> Tensor:
    flat = tensor.flatten()
    return torch.cat([flat[start:stop] for start, stop in _runs(flat.numel())])


def _of_ranges(ranges: Sequence[FileRange], spec: TensorSpec) -> Tensor:
    size = spec.dtype.itemsize
    data = b"".join(_bytes(ranges, start * size, stop * size) for start, stop in _runs(spec.numel))
    return torch.frombuffer(bytearray(data), dtype=getattr(torch, spec.dtype.name))


def _bytes(ranges: Sequence[FileRange], start: int, stop: int) -> bytes:
    """The bytes from `start` to `stop` of those which the ranges make up together."""
    found, offset = b"", 0
    for each in ranges:
        first, last = max(start - offset, 0), min(stop - offset, each.nbytes)
        if first < last:
            found += each.read(first, last - first)
        offset += each.nbytes
    return found


def _runs(numel: int) -> Iterator[tuple[int, int]]:
    """Where the runs start and stop; one for all elements where these are few."""
    if numel <= SAMPLED:
        yield 0, numel
        return
    for run in range(_RUNS):
        start = run * (numel - _LENGTH) // (_RUNS - 1)
        yield start, start + _LENGTH
