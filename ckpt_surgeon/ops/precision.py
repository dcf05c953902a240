"""Arithmetic on weights: which types have any, in which it is done, and the way back, which loses no finite value to infinity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.spec import DType, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["all_widened", "check_weights", "has_arithmetic", "narrowed", "refuse_no_weights", "refuse_nothing_left", "widened"]

_SCALED = 1  # bytes of a type which holds weights only up to a scale, kept elsewhere


def has_arithmetic(dtype: DType) -> bool:
    """Whether its values are weights as they stand: fractions, real, and not in need of a scale as those of one byte are."""
    return dtype.is_float and not dtype.is_complex and dtype.itemsize > _SCALED


def refuse_no_weights(specs: Iterable[TensorSpec], name: str) -> None:
    """RulesError for whole numbers, complex numbers and types which hold weights only up to a scale."""
    wrong = next((spec for spec in specs if not has_arithmetic(spec.dtype)), None)
    if wrong is not None:
        hint = "It computes with float64, float32, float16 and bfloat16; a quantized weight is to be dequantized first."
        raise RulesError(f"{name}: {wrong} holds no weights which can be computed with", hint=hint)


def check_weights(spec: TensorSpec, name: str, *, is_real: bool = False) -> None:
    """RulesError for a tensor which holds no fractions or has no zero; with `is_real` also for a complex one."""
    if not spec.dtype.is_float or not spec.dtype.has_zero:
        hint = "It is for weights: a quantized one is to be dequantized first, a table of numbers such as position_ids to be dropped."
        raise RulesError(f"{name}: {spec} holds no weights which could be computed with", hint=hint)
    if is_real and spec.dtype.is_complex:
        raise RulesError(f"{name}: {spec} is complex; real weights are wanted")


def refuse_nothing_left(lengths: torch.Tensor, what: str, name: str) -> None:
    """RulesError where one of the numbers by which weights are to be divided is 0 or has no root: they would become NaN."""
    wrong = int((lengths <= 0).sum())
    if wrong:
        count = f"{wrong} of {lengths.numel()}" if lengths.numel() > 1 else "it"
        hint = "Is the checkpoint damaged, or was it never trained?"
        raise RulesError(f"{name}: {what} is 0 or less ({count}): the weight would hold NaN", hint=hint)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The values in float32, or in float64 or complex where they are that; detached."""
    import torch

    tensor = tensor.detach()
    if tensor.is_complex():
        return tensor if tensor.dtype == torch.complex128 else tensor.to(torch.complex64)
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def all_widened(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The same of several tensors, contiguous and of one type: float64 where one of them is that."""
    import torch

    wide = [widened(tensor).contiguous() for tensor in tensors]
    is_double = any(tensor.dtype == torch.float64 for tensor in wide)
    return [tensor.to(torch.float64) for tensor in wide] if is_double else wide


def narrowed(result: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """A result, contiguous, in the type which is wanted. RulesError where a finite value becomes infinite in it."""
    import torch

    cast = result.to(dtype).contiguous()
    # torch tells of no type of one byte what is finite in it.
    finite = torch.isfinite(cast if cast.dtype.itemsize > _SCALED else cast.to(torch.float32))
    if cast.dtype == result.dtype or bool((finite | ~torch.isfinite(result)).all()):
        return cast
    largest = result[torch.isfinite(result)].abs().max().item()
    hint = "`cast` its inputs to a wider type (bfloat16, float32) by a rule before this one."
    raise RulesError(f"{name}: {largest:.6g} in its result is too large for {str(dtype).removeprefix('torch.')}", hint=hint)
