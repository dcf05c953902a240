"""One classifier, twice: its head as a 1x1 convolution over a map, and as a linear layer over the map's mean."""

from __future__ import annotations

import torch
from torch import nn


class Convolutional(nn.Module):
    """head.weight is [classes, channels, 1, 1]."""

    def __init__(self, channels: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.stem(x))).mean((2, 3))


class Linear(nn.Module):
    """head.weight is [classes, channels]."""

    def __init__(self, channels: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.stem(x)).mean((2, 3)))
