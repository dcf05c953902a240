"""Ops along a dim which is there: split, and concat, which undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, integers
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import (
    dim_within,
    filled,
    is_outermost,
    one_input,
    plain_shape,
    refuse_unlike,
    shared_out,
    shares,
    target_size,
)
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Concat", "Split"]


@dataclass(frozen=True, slots=True)
class Split(TensorDefaults):
    """Cut a tensor along a dim: a fused query-key-value becomes its three parts.

    sizes: of the parts along `dim`, or `target`. heads: in their place, how many heads each part has, of a size which follows
    from the tensor's. Both left out, the target's sizes where there is a target, else as many equal parts as there are outputs.
    parts: filled in then.

    >>> op = Split(sizes=(768, 256, 256))
    >>> print(*op.infer((TensorSpec.of("float32", 1280, 768),)))
    f32[768, 768] f32[256, 768] f32[256, 768]
    >>> print(*Split(heads=(32, 8, 8)).infer((TensorSpec.of("bfloat16", 6144, 4096),)))
    bf16[4096, 4096] bf16[1024, 4096] bf16[1024, 4096]
    """

    name: ClassVar[str] = "split"
    body: ClassVar[Body] = Body(filled=("parts",))
    arity: ClassVar[Arity] = "1->n"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0
    sizes: tuple[int, ...] | Literal["target"] | None = None
    parts: int | None = None
    heads: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        integer(self.dim, "split: dim")
        given = [name for name in ("sizes", "heads", "parts") if getattr(self, name) is not None]
        if len(given) > 1:
            raise RulesError(f"split: give {given[0]} or {given[1]}, not both")
        if self.heads is not None:
            assign(self, heads=shares(self.heads, "split: heads"))
        if self.sizes is not None and self.sizes != "target":
            assign(self, sizes=plain_shape(integers(self.sizes, "split: sizes"), "split: sizes"))
        if self.sizes == () or (self.parts is not None and integer(self.parts, "split: parts") < 1):
            raise RulesError("split: at least one part is wanted")

    @property
    def needs_target(self) -> bool:
        """Whether the sizes are the target's."""
        return self.sizes == "target"

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """As many as there are sizes, heads or parts."""
        given = self.heads if self.heads is not None else self.sizes
        return len(given) if isinstance(given, tuple) else self.parts

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Split:
        """With sizes from the targets, or the number of equal parts."""
        known = self.count(())
        if known is not None:
            if known != outputs:
                raise RulesError(f"split: {known} parts for {outputs} outputs")
            return self
        if targets is None:
            self._refuse_unknown_target()
            return replace(self, parts=outputs)
        return replace(self, sizes=tuple(target_size(target, self.dim, self.name) for target in targets))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """A spec for each part."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        return tuple(replace(spec, shape=_with_size(spec.shape, dim, size)) for size in self._sizes_of(spec.shape, dim, spec))

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The parts, each with its own memory (views of one storage would be saved with all of it)."""
        import torch

        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        sizes = self._sizes_of(tuple(tensor.shape), dim, list(tensor.shape))
        pieces = torch.split(as_movable(tensor), list(sizes), dim)
        return tuple(same_type(piece.clone(memory_format=torch.contiguous_format), tensor) for piece in pieces)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """One run for each part, when no dim larger than 1 stands before."""
        parts = self.infer(specs)
        spec = specs[0]
        if not is_outermost(spec.shape, dim_within(self.dim, len(spec.shape), self.name, spec)):
            return None
        starts = accumulate((part.nbytes for part in parts), initial=0)
        return tuple(filled([Run(0, start, part.nbytes)]) for start, part in zip(starts, parts, strict=False))

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The concatenation of the parts."""
        return Concat(self.dim)

    def _refuse_unknown_target(self) -> None:
        if self.sizes == "target":
            raise RulesError("split: its sizes are the target's, and there is none", hint="Give a target, or sizes.")

    def _sizes_of(self, shape: tuple[int, ...], dim: int, of: object) -> tuple[int, ...]:
        size = shape[dim]
        if isinstance(self.sizes, tuple):
            if sum(self.sizes) != size:
                raise RulesError(f"split: dim {dim} of {of} has size {size}; the sizes {list(self.sizes)} add up to {sum(self.sizes)}")
            return self.sizes
        if self.heads is not None:
            return shared_out(size, self.heads, f"split: the {size} rows of dim {dim} of {of}")
        self._refuse_unknown_target()
        if self.parts is None:
            raise RulesError("split: neither sizes nor a number of outputs is known")
        if size % self.parts:
            hint = f"Give sizes which add up to {size}: `sizes: [...]`, or check the pattern."
            raise RulesError(f"split: dim {dim} of {of} does not divide by {self.parts}", hint=hint)
        return (size // self.parts,) * self.parts


@dataclass(frozen=True, slots=True)
class Concat(TensorDefaults):
    """Join tensors along a dim: query, key and value become one tensor.

    >>> op = Concat(dim=0)
    >>> print(*op.infer((TensorSpec.of("float32", 768, 768), TensorSpec.of("float32", 256, 768))))
    f32[1024, 768]
    """

    name: ClassVar[str] = "concat"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0

    def __post_init__(self) -> None:
        integer(self.dim, "concat: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The sizes along the dim added up; all others must agree, and so must the types."""
        if not specs:
            raise RulesError("concat: no inputs; it takes at least one tensor")
        first = specs[0]
        dim = dim_within(self.dim, len(first.shape), self.name, first)
        refuse_unlike(specs, dim, self.name)
        return (replace(first, shape=_with_size(first.shape, dim, sum(spec.shape[dim] for spec in specs))),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The joined tensor."""
        import torch

        return (same_type(torch.cat([as_movable(tensor) for tensor in tensors], self.dim), tensors[0]),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The inputs one after the other, when no dim larger than 1 stands before."""
        (joined,) = self.infer(specs)
        if not is_outermost(joined.shape, dim_within(self.dim, len(joined.shape), self.name, joined)):
            return None
        return (filled(Run(i, 0, spec.nbytes) for i, spec in enumerate(specs)),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The split into the same sizes."""
        dim = dim_within(self.dim, len(specs[0].shape), self.name, specs[0])
        return Split(self.dim, tuple(spec.shape[dim] for spec in specs))


def _with_size(shape: Sequence[int], dim: int, size: int) -> tuple[int, ...]:
    return (*shape[:dim], size, *shape[dim + 1 :])
