"""The type in which ops compute: at least float32, whatever the weight's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["widened"]


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 or complex64, or as it is where it has more bits already."""
    import torch

    if tensor.is_complex():
        return tensor if tensor.dtype == torch.complex128 else tensor.to(torch.complex64)
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)
