"""Weights shaken a little, so that no two of them are alike by chance: a fresh norm is all ones, a fresh bias all zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from ckpt_surgeon.model.seeding import derived_seed

__all__ = ["shaken"]

_SHARE = 0.1  # of a matrix's own size: what it computes stays near what it did
_FEW = 0.1  # of a vector, whatever its size: a scale of 1e-6 would hide all that it scales


def shaken(tensor: Tensor, name: str, seed: int, share: float = _SHARE) -> Tensor:
    """The tensor with normal noise, drawn from the seed and its name; numbers none of which is negative (variances) stay so.

    Whole numbers stay as they are.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    generator = torch.Generator().manual_seed(derived_seed(seed, name))
    root = float(tensor.double().square().mean().sqrt())
    size = share * root if tensor.dim() > 1 and root else share * max(root, 1.0) * (_FEW / _SHARE)
    found = tensor + size * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    return found.abs() if bool((tensor >= 0).all()) and bool((tensor > 0).any()) else found
