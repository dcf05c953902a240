"""A small vocoder, with weight norm in its older or newer form or without, and a model with the names which peft gives it."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrizations


def vocoder(norm: str) -> nn.Sequential:
    """norm: `old` (weight_g, weight_v), `new` (parametrizations), or `none`."""
    layers = [nn.Conv1d(8, 16, 7, padding=3), nn.ConvTranspose1d(16, 8, 4, 2, padding=1), nn.Conv1d(8, 1, 7, padding=3)]
    if norm == "old":
        with warnings.catch_warnings(action="ignore"):  # torch says, rightly, that it is deprecated
            layers = [nn.utils.weight_norm(layer) for layer in layers]
    if norm == "new":
        layers = [parametrizations.weight_norm(layer) for layer in layers]
    return nn.Sequential(*layers)


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter beside it, as peft nests them."""

    def __init__(self, taken: int, given: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.base_layer = nn.Linear(taken, given)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(taken, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, given, bias=False)})
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[n, in] -> [n, out]`."""
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x)) * self.scale


def adapted() -> nn.Module:
    """Two layers, under the prefix which peft puts before a model."""
    inner = nn.Sequential(Adapted(12, 20, 4, 16), nn.ReLU(), Adapted(20, 6, 4, 16))
    return nn.ModuleDict({"base_model": nn.ModuleDict({"model": inner})})


def plain() -> nn.Sequential:
    """The same without adapters."""
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 6))
