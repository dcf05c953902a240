"""Ops which set a tensor into a larger one: pad, region."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import MAX_INTEGER, assign, integer, integers
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, dim_within, filled, is_outermost, one_input, target_size
from ckpt_surgeon.ops.taking import Slice
from ckpt_surgeon.spec import DType, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Pad", "Region"]


@dataclass(frozen=True, slots=True)
class Pad(TensorDefaults):
    """Set rows of one value before and after those of a tensor, along a dim: an embedding padded to a multiple of 64.

    before, after: how many; `after: target` makes up for what the target has more. value: that of every new element.
    size: the target's; filled in.

    >>> op = Pad(after=47)
    >>> print(*op.infer((TensorSpec.of("float32", 50257, 768),)))
    f32[50304, 768]
    """

    name: ClassVar[str] = "pad"
    body: ClassVar[Body] = Body(filled=("size",))
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    dim: int = 0
    before: int = 0
    after: int | Literal["target"] = 0
    value: float | int = 0
    size: int | None = None

    def __post_init__(self) -> None:
        integer(self.dim, "pad: dim")
        for word, rows in (("before", self.before), ("after", self.after)):
            if rows != "target" and integer(rows, f"pad: {word}") < 0:
                raise RulesError(f"pad: {word} is {rows}; 0 or more is wanted", hint="`slice` takes rows away.")
        if self.before == self.after == 0:
            raise RulesError("pad: neither before nor after", hint="Say how many rows are new: `after: 47`, or `after: target`.")
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not isfinite(self.value):
            raise RulesError(f"pad: value is {self.value!r}; a finite number is wanted")

    @property
    def needs_target(self) -> bool:
        """Whether the size is still to be taken from the target."""
        return self.after == "target" and self.size is None

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Pad:
        """With the target's size, if it is to be that."""
        if not self.needs_target:
            return self
        if targets is None:
            raise _lacks_target()
        return replace(self, size=target_size(one_input(targets, self.name), self.dim, self.name))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new rows."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        if spec.dtype.is_packed or not spec.dtype.has_zero or not _holds(spec.dtype, self.value):
            raise RulesError(f"pad: {spec} cannot hold the value {self.value}")
        size = spec.shape[dim] + self.before + self._after(spec.shape[dim], spec)
        return (bounded((*spec.shape[:dim], size, *spec.shape[dim + 1 :]), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensor between the new rows."""
        import torch

        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        plain = as_movable(tensor)
        value = torch.tensor(self.value, dtype=torch.float64 if isinstance(self.value, float) else torch.int64).to(tensor.dtype)
        new = as_movable(value)
        parts = [
            new.expand(*tensor.shape[:dim], count, *tensor.shape[dim + 1 :])
            for count in (self.before, self._after(tensor.shape[dim], list(tensor.shape)))
        ]
        return (same_type(torch.cat([parts[0], plain, parts[1]], dim), tensor),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The rows between the new ones."""
        spec = one_input(specs, self.name)
        size = spec.shape[dim_within(self.dim, len(spec.shape), self.name, spec)]
        return Slice(self.dim, self.before, self.before + size)

    def _after(self, size: int, of: object) -> int:
        if self.after != "target":
            return self.after
        if self.size is None:
            raise _lacks_target()
        if self.size < size + self.before:
            what = f"pad: dim {self.dim} of {of} has {size} rows, with {self.before} before them more than the target's {self.size}"
            raise RulesError(what, hint="`slice` takes rows away.")
        return self.size - size - self.before


@dataclass(frozen=True, slots=True)
class Region(TensorDefaults):
    """Write a tensor into a region of another: of two inputs, the base and the part, the base with the part written in.

    start: where in the base the part begins, for each dim.

    >>> op = Region(start=(0, 128))
    >>> print(*op.infer((TensorSpec.of("float32", 512, 256), TensorSpec.of("float32", 512, 64))))
    f32[512, 256]
    """

    name: ClassVar[str] = "region"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"

    start: tuple[int, ...]

    def __post_init__(self) -> None:
        assign(self, start=integers(self.start, "region: start"))
        if any(at < 0 for at in self.start):
            raise RulesError(f"region: start {list(self.start)} holds a negative number; they count from 0")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The base's spec."""
        if len(specs) != 2:
            raise RulesError(f"region: {len(specs)} inputs; it takes two, the base and the part", hint="Write `source: [base, part]`.")
        base, part = specs
        if part.dtype != base.dtype:
            raise RulesError(f"region: {base} and {part} differ in type", hint="`cast` one of them first.")
        if not len(base.shape) == len(part.shape) == len(self.start):
            raise RulesError(f"region: start {list(self.start)} for {part} in {base}; each has one number for each dim")
        for dim, (at, size, whole) in enumerate(zip(self.start, part.shape, base.shape, strict=True)):
            if at + size > whole:
                fits = f"start which fits in dim {dim}: 0..{whole - size}." if size <= whole else "The part is larger than the base."
                raise RulesError(f"region: dim {dim} of {part} from {at} on does not fit into {base}", hint=fits)
        return (base,)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """A copy of the base, the part written in."""
        import torch

        base, part = tensors
        whole = as_movable(base).clone(memory_format=torch.contiguous_format)
        region = whole
        for dim, at in enumerate(self.start):
            region = region.narrow(dim, at, part.shape[dim])
        region.copy_(as_movable(part))
        return (same_type(whole, base),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The part between two runs of the base, when it differs from the base in its outermost dim alone."""
        self.infer(specs)
        base, part = specs
        unlike = [dim for dim, sizes in enumerate(zip(base.shape, part.shape, strict=True)) if sizes[0] != sizes[1]]
        if len(unlike) > 1 or not part.nbytes or (unlike and not is_outermost(base.shape, unlike[0])):
            return None
        offset = self.start[unlike[0]] * (part.nbytes // part.shape[unlike[0]]) if unlike else 0
        end = offset + part.nbytes
        return (filled([Run(0, 0, offset), Run(1, 0, part.nbytes), Run(0, end, base.nbytes - end)]),)


def _holds(dtype: DType, value: float) -> bool:
    """Whether a type has the value, or for fractions one which is near: neither infinity nor, for what is not 0, 0."""
    if dtype.is_float:
        steps = 2 if dtype.name == "float8_e4m3fn" else 1  # whose largest number is its NaN
        largest = 2**dtype.high - steps * 2 ** (dtype.high - dtype.precision)
        return value == 0 or 2.0**dtype.low <= abs(value) <= largest
    lowest = -(2**dtype.precision) if dtype.signed else 0
    return float(value).is_integer() and lowest <= value < min(2**dtype.precision, MAX_INTEGER + 1)


def _lacks_target() -> RulesError:
    return RulesError("pad: its size is the target's, and there is none", hint="Give a target, or a number of rows.")
