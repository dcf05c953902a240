"""cast: the same values in another element type."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, dtype_name
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import filled, one_input
from ckpt_surgeon.spec import DTYPES, DType, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Cast"]


@dataclass(frozen=True, slots=True)
class Cast(TensorDefaults):
    """The same values, rounded to the nearest, in another element type.

    dtype: torch's name, or `target`. Whether values may be lost is for the plan to allow. Packed types have no values of
    their own, and a complex tensor has no real value: both are refused.

    >>> op = Cast(dtype="bfloat16")
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3),)))
    bf16[64, 3]
    """

    name: ClassVar[str] = "cast"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    dtype: str

    def __post_init__(self) -> None:
        if self.dtype != "target":
            assign(self, dtype=dtype_name(self.dtype, "cast: dtype"))

    @property
    def needs_target(self) -> bool:
        """Whether the type is the target's."""
        return self.dtype == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Cast:
        """With the target's type, if it is to be that."""
        if self.dtype != "target":
            return self
        if targets is None:
            raise RulesError("cast: its dtype is the target's, and there is none", hint="Give a target, or a dtype.")
        return Cast(one_input(targets, self.name).dtype.name)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new type."""
        spec, wanted = one_input(specs, self.name), self._wanted()
        if spec.dtype != wanted and (spec.dtype.is_packed or wanted.is_packed):
            raise RulesError(f"cast: {spec} to {wanted}: a packed type holds no single values which could be converted")
        if spec.dtype.is_complex and not wanted.is_complex:
            raise RulesError(f"cast: {spec} to {wanted}: a complex value has no real one", hint="Allowed: complex types.")
        return (replace(spec, dtype=wanted),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The converted tensor."""
        import torch

        (tensor,) = tensors
        return (tensor.to(getattr(torch, self._wanted().name)),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, when the type is the same already."""
        spec = one_input(specs, self.name)
        return (filled([Run(0, 0, spec.nbytes)]),) if spec.dtype == self._wanted() else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The cast back, when it brings every bit back. A float's NaN may lose some bits of its own, so only for whole numbers."""
        dtype, wanted = one_input(specs, self.name).dtype, self._wanted()
        is_exact = dtype == wanted or (not dtype.is_float and not wanted.is_complex and wanted.holds(dtype))
        return Cast(dtype.name) if is_exact else None

    def _wanted(self) -> DType:
        if self.dtype == "target":
            raise RulesError("cast: its dtype is the target's, and there is none", hint="Give a target, or a dtype.")
        return DTYPES[self.dtype]
