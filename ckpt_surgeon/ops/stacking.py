"""Ops along a dim which comes or goes: stack, and unstack, which undoes it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import dim_within, filled, is_outermost, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Stack", "Unstack"]


@dataclass(frozen=True, slots=True)
class Stack(TensorDefaults):
    """Join equal tensors along a new dim: the experts' weights become one tensor.

    dim: where the new dim stands in the result.

    >>> op = Stack()
    >>> print(*op.infer((TensorSpec.of("bfloat16", 512, 64), TensorSpec.of("bfloat16", 512, 64))))
    bf16[2, 512, 64]
    """

    name: ClassVar[str] = "stack"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0

    def __post_init__(self) -> None:
        integer(self.dim, "stack: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The shape with the number of inputs as one more dim; all must be alike."""
        if not specs:
            raise RulesError("stack: no inputs; it takes at least one tensor")
        first = specs[0]
        unlike = next((spec for spec in specs if spec != first), None)
        if unlike is not None:
            raise RulesError(f"stack: {first} and {unlike} are not alike", hint="`concat` joins tensors which differ along one dim.")
        dim = self._dim_in(first)
        return (replace(first, shape=(*first.shape[:dim], len(specs), *first.shape[dim:])),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The joined tensor."""
        import torch

        return (same_type(torch.stack([as_movable(tensor) for tensor in tensors], self.dim), tensors[0]),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The inputs one after the other, when no dim larger than 1 stands before the new one."""
        self.infer(specs)
        if not is_outermost(specs[0].shape, self._dim_in(specs[0])):
            return None
        return (filled(Run(i, 0, spec.nbytes) for i, spec in enumerate(specs)),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The unstack of the same dim."""
        return Unstack(self.dim)

    def _dim_in(self, spec: TensorSpec) -> int:
        return dim_within(self.dim, len(spec.shape) + 1, self.name, f"{spec} with one more dim")


@dataclass(frozen=True, slots=True)
class Unstack(TensorDefaults):
    """Take a tensor apart along a dim, which goes: one tensor becomes the experts' weights.

    >>> op = Unstack()
    >>> print(*op.infer((TensorSpec.of("bfloat16", 2, 512, 64),)))
    bf16[512, 64] bf16[512, 64]
    """

    name: ClassVar[str] = "unstack"
    arity: ClassVar[Arity] = "1->n"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0

    def __post_init__(self) -> None:
        integer(self.dim, "unstack: dim")

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """The size of the dim."""
        spec = one_input(specs, self.name)
        return spec.shape[self._dim_in(spec)]

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """As many specs without the dim as its size is."""
        spec = one_input(specs, self.name)
        dim = self._dim_in(spec)
        if not spec.shape[dim]:
            raise RulesError(f"unstack: dim {dim} of {spec} has size 0: nothing would be left")
        return (replace(spec, shape=(*spec.shape[:dim], *spec.shape[dim + 1 :])),) * spec.shape[dim]

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The slices, each with its own memory (views of one storage would be saved with all of it)."""
        import torch

        (tensor,) = tensors
        slices = torch.unbind(as_movable(tensor), self.dim)
        return tuple(same_type(part.clone(memory_format=torch.contiguous_format), tensor) for part in slices)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """One run for each slice, when no dim larger than 1 stands before."""
        parts = self.infer(specs)
        if not is_outermost(specs[0].shape, self._dim_in(specs[0])):
            return None
        return tuple(filled([Run(0, i * part.nbytes, part.nbytes)]) for i, part in enumerate(parts))

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The stack along the same dim."""
        return Stack(self.dim)

    def _dim_in(self, spec: TensorSpec) -> int:
        return dim_within(self.dim, len(spec.shape), self.name, spec)
