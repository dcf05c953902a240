"""Ops on dims of size 1: squeeze, unsqueeze."""

from __future__ import annotations

from typing import ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integers
from ckpt_surgeon.ops.protocol import Body, TensorOp
from ckpt_surgeon.ops.reshaping import Reshape, SameElements
from ckpt_surgeon.ops.shaping import dims_within, one_input, plain_shape
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Squeeze", "Unsqueeze"]


@dataclass(frozen=True, slots=True)
class Squeeze(SameElements):
    """Leave out dims of size 1: a 1x1 convolution becomes a linear layer.

    dims: which ones; left out, they are found from the target (never by taking all 1s: one of them may be a channel).
    shape: filled in from the target where dims is left out.

    >>> op = Squeeze(dims=(2, 3))
    >>> print(*op.infer((TensorSpec.of("float32", 256, 1, 1, 1),)))
    f32[256, 1]
    """

    name: ClassVar[str] = "squeeze"
    body: ClassVar[Body] = Body(filled=("shape",))

    dims: int | tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.dims is not None and self.shape is not None:
            raise RulesError("squeeze: give dims or shape, not both")
        if self.dims is not None:
            assign(self, dims=integers(self.dims, "squeeze: dims", single=True))
        if self.shape is not None:
            assign(self, shape=plain_shape(integers(self.shape, "squeeze: shape"), self.name))

    @property
    def needs_target(self) -> bool:
        """Without dims, the target tells which."""
        return self.dims is None and self.shape is None

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Squeeze:
        """With the target's shape, where there are no dims."""
        if not self.needs_target:
            return self
        if targets is None:
            raise _lacks_dims()
        return Squeeze(shape=one_input(targets, self.name).shape)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The unsqueeze at the same dims."""
        spec = one_input(specs, self.name)
        if not isinstance(self.dims, tuple):
            return Reshape(spec.shape)
        return Unsqueeze(dims_within(self.dims, len(spec.shape), self.name, spec))

    def _shape_for(self, shape: tuple[int, ...], of: object) -> tuple[int, ...]:
        if isinstance(self.dims, tuple):
            return _without(shape, dims_within(self.dims, len(shape), self.name, of), of)
        if self.shape is None:
            raise _lacks_dims()
        if not _is_squeezed(shape, self.shape):
            raise RulesError(f"squeeze: {of} does not become the target's {list(self.shape)} by leaving out dims of size 1")
        return self.shape


def _lacks_dims() -> RulesError:
    return RulesError("squeeze: no dims, and no target to find them from", hint="Say which: `dims: [2, 3]`.")


def _without(shape: tuple[int, ...], dims: tuple[int, ...], of: object) -> tuple[int, ...]:
    for dim in dims:
        if shape[dim] != 1:
            ones = [i for i, size in enumerate(shape) if size == 1]
            hint = f"Dims of size 1: {ones}." if ones else "It has no dim of size 1."
            raise RulesError(f"squeeze: dim {dim} of {of} has size {shape[dim]}, not 1", hint=hint)
    return tuple(size for i, size in enumerate(shape) if i not in dims)


def _is_squeezed(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether `target` is `shape` with some of its 1s left out: in order, it needs no 1 which `shape` lacks."""
    rest = iter(shape)
    for size in target:
        if next((found for found in rest if found == size or found != 1), None) != size:
            return False
    return all(size == 1 for size in rest)


@dataclass(frozen=True, slots=True)
class Unsqueeze(SameElements):
    """Put in dims of size 1: a linear layer becomes a 1x1 convolution.

    dims: where they stand in the result.

    >>> op = Unsqueeze(dims=(2, 3))
    >>> print(*op.infer((TensorSpec.of("float32", 256, 64),)))
    f32[256, 64, 1, 1]
    """

    name: ClassVar[str] = "unsqueeze"

    dims: int | tuple[int, ...]

    def __post_init__(self) -> None:
        assign(self, dims=integers(self.dims, "unsqueeze: dims", single=True))

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The squeeze of the same dims."""
        return Squeeze(self.dims)

    def _shape_for(self, shape: tuple[int, ...], of: object) -> tuple[int, ...]:
        given = integers(self.dims, "unsqueeze: dims")
        rank = len(shape) + len(given)
        dims = dims_within(given, rank, self.name, f"the result, {of} with {len(given)} more dims,")
        rest = iter(shape)
        return tuple(1 if i in dims else next(rest) for i in range(rank))
