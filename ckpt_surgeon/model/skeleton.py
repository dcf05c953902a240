"""A model without its weights: the same modules and hooks, every tensor on the meta device."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["skeleton"]


def skeleton(module: nn.Module) -> nn.Module:
    """A deep copy of `module` in which parameters and buffers are on meta; takes no memory for weights, keeps ties.

    Raises ModelError for a module which cannot be copied (it holds a lock, an open file, a graph).
    """
    tensors = (*module.parameters(), *module.buffers())
    try:
        return copy.deepcopy(module, {id(tensor): _on_meta(tensor) for tensor in tensors})
    except Exception as error:  # deepcopy runs the user's code
        raise ModelError(f"copying {type(module).__name__} failed: {type(error).__name__}: {error}") from error


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    twin = torch.empty_like(tensor.detach(), device="meta")
    return torch.nn.Parameter(twin, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else twin
