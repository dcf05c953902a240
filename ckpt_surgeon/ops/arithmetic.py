"""What weights are computed in, and which tensors are no weights at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["check_weights", "widened"]


def check_weights(spec: TensorSpec, name: str, *, is_real: bool = False) -> None:
    """RulesError for a tensor which holds no fractions or has no zero; with `is_real` also for a complex one."""
    if not spec.dtype.is_float or not spec.dtype.has_zero:
        hint = "It is for weights: a quantized one is to be dequantized first, a table of numbers such as position_ids to be dropped."
        raise RulesError(f"{name}: {spec} holds no weights which could be computed with", hint=hint)
    if is_real and spec.dtype.is_complex:
        raise RulesError(f"{name}: {spec} is complex; real weights are wanted")


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as float32, or as what it is where that holds more (float64, complex), without its history."""
    import torch

    if tensor.is_complex():
        return tensor.detach() if tensor.dtype == torch.complex128 else tensor.detach().to(torch.complex64)
    return tensor.detach() if tensor.dtype == torch.float64 else tensor.detach().to(torch.float32)
