"""Ops which put dims in another order: transpose, permute."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integers
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import dims_within, filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Permute", "Transpose"]


class _Reordered(TensorDefaults):
    """Dims in another order; the bytes only stay in theirs when nothing but dims of size 1 move."""

    __slots__ = ()

    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensor, its dims in the new order, contiguous."""
        (tensor,) = tensors
        order = self._order(tensor.dim(), list(tensor.shape))
        return (same_type(as_movable(tensor).permute(list(order)).contiguous(), tensor),)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The sizes in the new order."""
        spec = one_input(specs, self.name)
        return (TensorSpec(tuple(spec.shape[dim] for dim in self._order(len(spec.shape), spec)), spec.dtype),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, when the dims which are larger than 1 keep their order."""
        spec = one_input(specs, self.name)
        moving = [dim for dim in self._order(len(spec.shape), spec) if spec.shape[dim] != 1]
        if spec.numel and moving != sorted(moving):
            return None
        return (filled([Run(0, 0, spec.nbytes)]),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The order back."""
        spec = one_input(specs, self.name)
        order = self._order(len(spec.shape), spec)
        return Permute(tuple(sorted(range(len(order)), key=order.__getitem__)))

    @abstractmethod
    def _order(self, rank: int, of: object) -> Sequence[int]:
        """For each dim of the result, the dim of the input; `of` is the tensor, for a message."""


@dataclass(frozen=True, slots=True)
class Transpose(_Reordered):
    """Exchange two dims: Conv1D's `[in, out]` becomes Linear's `[out, in]`.

    dims: the two; [0, 1] for a tensor with two dims, which then may be left out.

    >>> op = Transpose()
    >>> print(*op.infer((TensorSpec.of("float32", 768, 2304),)))
    f32[2304, 768]
    """

    name: ClassVar[str] = "transpose"

    dims: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.dims is None:
            return
        dims = integers(self.dims, "transpose: dims")
        if len(dims) != 2:
            raise RulesError(f"transpose: {len(dims)} dims, {list(dims)}; it exchanges two", hint="`permute` takes all dims.")
        assign(self, dims=dims)

    def _order(self, rank: int, of: object) -> Sequence[int]:
        if self.dims is None and rank != 2:
            raise RulesError(f"transpose: which dims of {of}? Only with two dims may they be left out", hint="Say `dims: [0, 1]`.")
        first, second = dims_within(self.dims or (0, 1), rank, self.name, of)
        order = list(range(rank))
        order[first], order[second] = second, first
        return order


@dataclass(frozen=True, slots=True)
class Permute(_Reordered):
    """Put all dims in another order: TensorFlow's `[kh, kw, in, out]` becomes `[out, in, kh, kw]`.

    dims: for each dim of the result, the dim of the input.

    >>> op = Permute(dims=(3, 2, 0, 1))
    >>> print(*op.infer((TensorSpec.of("float32", 7, 7, 3, 64),)))
    f32[64, 3, 7, 7]
    """

    name: ClassVar[str] = "permute"

    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        assign(self, dims=integers(self.dims, "permute: dims"))

    def _order(self, rank: int, of: object) -> Sequence[int]:
        if len(self.dims) != rank:
            raise RulesError(f"permute: {len(self.dims)} dims for {of}, which has {rank}", hint=f"Each of 0..{rank - 1} once.")
        return dims_within(self.dims, rank, self.name, of)
