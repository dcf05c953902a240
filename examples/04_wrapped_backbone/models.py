"""A pretrained backbone, and two critics which wrap it: one of 2019, one of today."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils.parametrizations import spectral_norm


class Backbone(nn.Module):
    """A classifier as one downloads it: features, and an `fc` which nobody wants."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.fc = nn.Linear(width, classes)


class Critic(nn.Module):
    """Heads under spectral norm over a frozen backbone without its `fc`.

    Today's spectral norm is a parametrization: `heads.0.parametrizations.weight.original`, and `.0._u`, `.0._v` beside it.
    The hooks of 2019 (`hooked`) keep `heads.0.weight_orig`, `heads.0.weight_u` and `heads.0.weight_v`.
    """

    def __init__(self, width: int = 8, heads: int = 2, hooked: bool = False) -> None:
        super().__init__()
        self.backbone = Backbone(width)
        del self.backbone.fc
        normalize = hooked_spectral_norm if hooked else spectral_norm
        self.heads = nn.ModuleList(normalize(nn.Linear(width, 1)) for _ in range(heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone.features(x).mean((2, 3))
        return torch.cat([head(features) for head in self.heads], dim=1)
