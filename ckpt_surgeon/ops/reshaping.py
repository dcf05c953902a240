"""Ops which give the same elements, in the same order, another shape: reshape, fit."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integers
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import filled, one_input, plain_shape, squeezed
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Fit", "Reshape", "SameElements"]


class SameElements(TensorDefaults):
    """The bytes stay, in their order: one run, and a reshape to what `infer` says."""

    __slots__ = ()

    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensor, in its new shape."""
        (tensor,) = tensors
        shape = self._shape_for(tuple(tensor.shape), list(tensor.shape))
        return (same_type(as_movable(tensor).reshape(shape), tensor),)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new shape."""
        spec = one_input(specs, self.name)
        return (replace(spec, shape=self._shape_for(spec.shape, spec)),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...]:
        """All bytes, as they are."""
        return (filled([Run(0, 0, one_input(specs, self.name).nbytes)]),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The reshape back."""
        return Reshape(one_input(specs, self.name).shape)

    @abstractmethod
    def _shape_for(self, shape: tuple[int, ...], of: object) -> tuple[int, ...]:
        """The shape which one of this shape takes; `of` is the tensor, for a message."""


@dataclass(frozen=True, slots=True)
class Reshape(SameElements):
    """The same elements in another shape.

    shape: sizes, of which one may be -1 (found from the others), or `target`.

    >>> op = Reshape(shape=(64, -1))
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3, 7, 7),)))
    f32[64, 147]
    """

    name: ClassVar[str] = "reshape"

    shape: tuple[int, ...] | Literal["target"]

    def __post_init__(self) -> None:
        if self.shape == "target":
            return
        shape = integers(self.shape, "reshape: shape")
        plain_shape([size for size in shape if size != -1], self.name)
        if shape.count(-1) > 1:
            raise RulesError(f"reshape: shape {list(shape)} has several -1; only one size can be found from the others")
        assign(self, shape=shape)

    @property
    def needs_target(self) -> bool:
        """Whether the shape is the target's."""
        return self.shape == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Reshape:
        """With the target's shape, if it is to be that."""
        return Reshape(_target_shape(self.name, targets)) if self.shape == "target" else self

    def _shape_for(self, shape: tuple[int, ...], of: object) -> tuple[int, ...]:
        if self.shape == "target":
            raise _lacks_target(self.name)
        elements, known = prod(shape), prod(size for size in self.shape if size != -1)
        if -1 in self.shape and known and elements % known == 0:
            return tuple(elements // known if size == -1 else size for size in self.shape)
        if -1 in self.shape or elements != known:
            what = f"do not divide by {known}" if -1 in self.shape else f"are not {known}"
            raise RulesError(f"reshape: the {elements} elements of {of} {what}, as {list(self.shape)} wants")
        return self.shape


@dataclass(frozen=True, slots=True)
class Fit(SameElements):
    """Take the target's shape, allowed exactly when both are equal once their 1s are left out.

    shape: the target's; filled in.

    >>> op = Fit().bind(1, (TensorSpec.of("float32", 10, 512),))
    >>> print(*op.infer((TensorSpec.of("float32", 10, 512, 1, 1),)))
    f32[10, 512]
    """

    name: ClassVar[str] = "fit"
    body: ClassVar[Body] = Body("match", filled=("shape",))

    shape: tuple[int, ...] | Literal["target"] = "target"

    def __post_init__(self) -> None:
        if self.shape != "target":
            assign(self, shape=plain_shape(integers(self.shape, "fit: shape"), self.name))

    @property
    def needs_target(self) -> bool:
        """Whether the shape is still to be taken from the target."""
        return self.shape == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Fit:
        """With the target's shape."""
        return Fit(_target_shape(self.name, targets)) if self.shape == "target" else self

    def _shape_for(self, shape: tuple[int, ...], of: object) -> tuple[int, ...]:
        if self.shape == "target":
            raise _lacks_target(self.name)
        if squeezed(shape) != squeezed(self.shape):
            raise RulesError(
                f"fit: {of} and the target's {list(self.shape)} differ in more than sizes of 1",
                hint="`fit` never moves or drops an element; `reshape`, `permute` or `adapt_in_channels` may be what is meant.",
            )
        return self.shape


def _target_shape(name: str, targets: tuple[TensorSpec, ...] | None) -> tuple[int, ...]:
    if targets is None:
        raise _lacks_target(name)
    return one_input(targets, name).shape


def _lacks_target(name: str) -> RulesError:
    return RulesError(f"{name}: its shape is the target's, and there is none", hint="Give a target, or sizes.")
