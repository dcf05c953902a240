"""Ops which give a kernel a dim, or take one: inflate (2-d to 3-d convolutions), collapse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.precision import check_weights, narrowed, widened
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, dim_within, filled, one_input, target_size
from ckpt_surgeon.ops.squeezing import Squeeze, Unsqueeze
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Collapse", "Inflate"]

_MODES = ("mean", "centre")


@dataclass(frozen=True, slots=True)
class Inflate(TensorDefaults):
    """Give a kernel a new dim of size t: a 2-d convolution's `[out, in, kh, kw]` becomes a 3-d one's `[out, in, t, kh, kw]`.

    - `mean`: in each frame the weight divided by t. Source: Carreira and Zisserman, Quo Vadis, Action Recognition?, 2017 (I3D), and
      mmaction's `_inflate_conv_params`. On input which is the same at all times the 3-d layer answers as the 2-d one did, except near
      the borders in time: zero padding is no such input, so there a layer with padded frames answers less.
    - `centre`: the weight in frame t // 2, zeros in the others. Source: Arnab et al., ViViT, 2021 (central frame initialization). With
      stride 1 and a padding of t // 2 in time, an odd t answers to each frame as the 2-d layer did, at the borders too; with other
      strides and paddings, to the frames which it meets in the middle.

    Both hold to rounding. time: t, or `target`. dim: where the new dim stands in the result.

    >>> op = Inflate("mean", time=5)
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3, 7, 7),)))
    f32[64, 3, 5, 7, 7]
    """

    name: ClassVar[str] = "inflate"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "preserving"

    mode: Literal["mean", "centre"]
    time: int | Literal["target"]
    dim: int = 2

    def __post_init__(self) -> None:
        one_of(self.mode, _MODES, f"{self.name}: mode")
        integer(self.dim, f"{self.name}: dim")
        if self.time != "target" and integer(self.time, f"{self.name}: time") < 1:
            raise RulesError(f"{self.name}: time is {self.time}; 1 or more is wanted")

    @property
    def needs_target(self) -> bool:
        """Whether the number of frames is the target's."""
        return self.time == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Inflate:
        """With the target's number of frames, if it is to be that."""
        if self.time != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        return replace(self, time=target_size(one_input(targets, self.name), self.dim, self.name))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with t as one more dim."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name)
        dim = dim_within(self.dim, len(spec.shape) + 1, self.name, f"{spec} with one more dim")
        return (bounded((*spec.shape[:dim], self._frames(), *spec.shape[dim:]), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The inflated weight; divided in at least float32 and cast back."""
        (tensor,) = tensors
        frames, dim = self._frames(), dim_within(self.dim, tensor.dim() + 1, self.name, list(tensor.shape))
        shape = (*tensor.shape[:dim], frames, *tensor.shape[dim:])
        if self.mode == "mean" and frames > 1:
            frame = (widened(tensor) / frames).to(tensor.dtype)
            return (same_type(as_movable(frame).unsqueeze(dim).expand(shape).contiguous(), tensor),)
        inflated = as_movable(tensor).new_zeros(shape)
        inflated.select(dim, frames // 2).copy_(as_movable(tensor))
        return (same_type(inflated, tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, for a single frame."""
        return (filled([Run(0, 0, one_input(specs, self.name).nbytes)]),) if self._frames() == 1 else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The squeeze of a single frame. `collapse` is no inverse: it rounds, unless t is a power of two."""
        return Squeeze((self.dim,)) if self._frames() == 1 else None

    def _frames(self) -> int:
        if self.time == "target":
            raise self._lacks_target()
        return self.time

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: time is the target's, and there is none", hint="Give a target, or a number.")


@dataclass(frozen=True, slots=True)
class Collapse(TensorDefaults):
    """Add a kernel up along a dim, which goes: a 3-d convolution's `[out, in, t, kh, kw]` becomes a 2-d one's `[out, in, kh, kw]`.

    On input which is the same at all times the 2-d layer answers as the 3-d one did, away from zero-padded frames; what the kernel
    knew of change in time is lost. It undoes `inflate` by `mean` exactly only where t is a power of two (dividing by another t
    rounds, and so does dividing what is smallest), and `centre` but for the signs of zeros: so neither is called an inverse.

    >>> op = Collapse()
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3, 5, 7, 7),)))
    f32[64, 3, 7, 7]
    """

    name: ClassVar[str] = "collapse"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "preserving"

    dim: int = 2

    def __post_init__(self) -> None:
        integer(self.dim, f"{self.name}: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec without the dim."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        if not spec.shape[dim]:
            raise RulesError(f"{self.name}: dim {dim} of {spec} has size 0; there is nothing to add up")
        return (replace(spec, shape=(*spec.shape[:dim], *spec.shape[dim + 1 :])),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The sum; added up in at least float32 and cast back."""
        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        if tensor.shape[dim] == 1:
            return (same_type(as_movable(tensor).squeeze(dim).contiguous(), tensor),)
        return (narrowed(widened(tensor).contiguous().sum(dim), tensor.dtype, self.name),)  # sums of one order whatever the strides

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, for a dim of size 1."""
        return (filled([Run(0, 0, one_input(specs, self.name).nbytes)]),) if self._is_single(specs) else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The unsqueeze of a dim of size 1."""
        return Unsqueeze((self.dim,)) if self._is_single(specs) else None

    def _is_single(self, specs: tuple[TensorSpec, ...]) -> bool:
        spec = one_input(specs, self.name)
        return spec.shape[dim_within(self.dim, len(spec.shape), self.name, spec)] == 1
