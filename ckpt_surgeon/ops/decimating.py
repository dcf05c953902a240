"""decimate: every m-th element along each dim."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Decimate"]


@dataclass(frozen=True, slots=True)
class Decimate(TensorDefaults):
    """Keep elements 0, m, 2 m ... along each dim: VGG's fc6 `[4096, 512, 7, 7]` becomes SSD's conv6 `[1024, 512, 3, 3]`.

    m: one for each dim; None keeps it whole. The kept ones are bit for bit what they were; the layer's answers are not.
    Source: Liu et al., SSD, 2016, as `decimate(tensor, m)` of sgrvinod's a-PyTorch-Tutorial-to-Object-Detection has it.

    >>> op = Decimate(m=(4, None, 3, 3))
    >>> print(*op.infer((TensorSpec.of("float32", 4096, 512, 7, 7),)))
    f32[1024, 512, 3, 3]
    """

    name: ClassVar[str] = "decimate"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    m: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.m, list | tuple):
            raise RulesError(f"{self.name}: m is {self.m!r}; a list is wanted, such as [4, null, 3, 3]")
        assign(self, m=tuple(self.m))
        if any(step is not None and integer(step, f"{self.name}: m") < 1 for step in self.m):
            raise RulesError(f"{self.name}: m is {list(self.m)}; each is 1 or more, or null")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The sizes divided by m, rounded up."""
        spec = one_input(specs, self.name)
        if len(self.m) != len(spec.shape):
            what = f"{len(self.m)} steps for {spec}, which has {len(spec.shape)} dims"
            raise RulesError(f"{self.name}: {what}", hint="m has one for each dim; null keeps it whole.")
        return (replace(spec, shape=tuple(-(-size // (step or 1)) for size, step in zip(spec.shape, self.m, strict=True))),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The kept elements, in memory of their own."""
        import torch

        (tensor,) = tensors
        kept = as_movable(tensor)[tuple(slice(None, None, step) for step in self.m)]
        return (same_type(kept.clone(memory_format=torch.contiguous_format), tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, where nothing is left out."""
        return (filled([Run(0, 0, specs[0].nbytes)]),) if self.infer(specs) == specs else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op itself, where nothing is left out."""
        return self if self.infer(specs) == specs else None
