"""Tensors of types for which torch moves no elements (float8, packed, wide unsigned): moved as integers of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["as_movable", "same_type"]


def as_movable(tensor: torch.Tensor) -> torch.Tensor:
    """The same bytes as signed integers of the same size; complex tensors, which torch moves itself, as they are."""
    import torch

    carriers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor if tensor.is_complex() else tensor.detach().resolve_neg().view(carriers[tensor.element_size()])


def same_type(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What `as_movable` gave, as the type which it was."""
    return tensor if tensor.dtype == like.dtype else tensor.view(like.dtype)
