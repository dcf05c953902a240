"""Ops between a linear layer on flattened features and the convolution which it is: linear_to_conv, conv_to_linear."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integers, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.reshaping import Reshape
from ckpt_surgeon.ops.shaping import filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ConvToLinear", "LinearToConv"]

_ORDERS = ("chw", "hwc")


@dataclass(frozen=True, slots=True)
class LinearToConv(TensorDefaults):
    """Make a linear layer `[out, c * h * w]` on flattened features the convolution `[out, c, h, w]` which answers the same on them.

    order: how the features were flattened: `chw` by torch, `hwc` by TensorFlow and Keras. kernel: `[h, w]` (or any number of kernel
    dims), or `target`. The bias stays as it is. Source: Long et al., Fully Convolutional Networks, 2015.

    >>> op = LinearToConv(order="chw", kernel=(7, 7))
    >>> print(*op.infer((TensorSpec.of("float32", 4096, 25088),)))
    f32[4096, 512, 7, 7]
    """

    name: ClassVar[str] = "linear_to_conv"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    order: Literal["chw", "hwc"]
    kernel: tuple[int, ...] | Literal["target"]

    def __post_init__(self) -> None:
        one_of(self.order, _ORDERS, f"{self.name}: order")
        if self.kernel == "target":
            return
        kernel = integers(self.kernel, f"{self.name}: kernel")
        if not kernel or min(kernel) < 1:
            raise RulesError(f"{self.name}: kernel is {list(kernel)}; sizes of 1 or more are wanted, such as [7, 7]")
        assign(self, kernel=kernel)

    @property
    def needs_target(self) -> bool:
        """Whether the kernel is the target's."""
        return self.kernel == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> LinearToConv:
        """With the target's kernel, if it is to be that."""
        if self.kernel != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        target = one_input(targets, self.name)
        if len(target.shape) < 3:
            raise RulesError(f"{self.name}: the target's {target} is no convolution's weight", hint="What fits: [out, in, h, w].")
        return replace(self, kernel=target.shape[2:])

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with channels and kernel apart."""
        spec = one_input(specs, self.name)
        if len(spec.shape) != 2:
            raise RulesError(f"{self.name}: {spec} is no linear layer's weight", hint="What fits: [out, c * h * w].")
        return (replace(spec, shape=(spec.shape[0], self._channels(spec), *self._sizes())),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The convolution's weight."""
        (tensor,) = tensors
        out, features = tensor.shape
        kernel = self._sizes()
        channels = features // prod(kernel)
        if self.order == "chw":
            return (same_type(as_movable(tensor).reshape(out, channels, *kernel), tensor),)
        return (same_type(as_movable(tensor).reshape(out, *kernel, channels).movedim(-1, 1).contiguous(), tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, unless channels and kernel change places."""
        (conv,) = self.infer(specs)
        return _whole(conv, self.order)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The flattening in the same order."""
        return ConvToLinear(self.order)

    def _channels(self, spec: TensorSpec) -> int:
        channels, rest = divmod(spec.shape[1], prod(self._sizes()))
        if rest:
            what = f"dim 1 of {spec} has {spec.shape[1]} features, which do not divide by a kernel of {list(self._sizes())}"
            raise RulesError(f"{self.name}: {what}")
        return channels

    def _sizes(self) -> tuple[int, ...]:
        if self.kernel == "target":
            raise self._lacks_target()
        return self.kernel

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: kernel is the target's, and there is none", hint="Give a target, or [h, w].")


@dataclass(frozen=True, slots=True)
class ConvToLinear(TensorDefaults):
    """Make a convolution `[out, c, h, w]` the linear layer `[out, c * h * w]` on features flattened in an order.

    order: `chw` as torch flattens `[c, h, w]`, or `hwc` as TensorFlow and Keras flatten `[h, w, c]`.

    >>> op = ConvToLinear(order="hwc")
    >>> print(*op.infer((TensorSpec.of("float32", 4096, 512, 7, 7),)))
    f32[4096, 25088]
    """

    name: ClassVar[str] = "conv_to_linear"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    order: Literal["chw", "hwc"]

    def __post_init__(self) -> None:
        one_of(self.order, _ORDERS, f"{self.name}: order")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with all but the outputs in one dim."""
        spec = one_input(specs, self.name)
        if len(spec.shape) < 3:
            raise RulesError(f"{self.name}: {spec} is no convolution's weight", hint="What fits: [out, c, h, w].")
        return (replace(spec, shape=(spec.shape[0], prod(spec.shape[1:]))),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The linear layer's weight."""
        (tensor,) = tensors
        weight = as_movable(tensor) if self.order == "chw" else as_movable(tensor).movedim(1, -1)
        return (same_type(weight.reshape(tensor.shape[0], prod(tensor.shape[1:])), tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, unless channels and kernel change places."""
        return _whole(one_input(specs, self.name), self.order)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The convolution of the same kernel; of a kernel without elements, the reshape to it."""
        shape = one_input(specs, self.name).shape
        return LinearToConv(self.order, shape[2:]) if all(shape[2:]) else Reshape(shape)


def _whole(conv: TensorSpec, order: str) -> tuple[tuple[Run, ...], ...] | None:
    """All bytes of a weight `[out, c, h, w]`, where those of its features keep their order."""
    if order == "hwc" and conv.numel and conv.shape[1] != 1 and prod(conv.shape[2:]) != 1:
        return None
    return (filled([Run(0, 0, conv.nbytes)]),)
