"""What the recipe was used on, with the real names and depth, and narrow layers so that it runs in a second."""

from __future__ import annotations

import torch
from torch import nn

STAGES = ((1, 3, 1), (2, 4, 2), (4, 6, 2), (8, 3, 2))  # width factor, blocks, stride: a ResNet-50
EXPANSION = 4


class Bottleneck(nn.Module):
    """torchvision's names: conv1, bn1, ... downsample.0, downsample.1."""

    def __init__(self, channels: int, width: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(EXPANSION * width)
        if shortcut:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, EXPANSION * width, 1, stride, bias=False), nn.BatchNorm2d(EXPANSION * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet50(nn.Module):
    """320 tensors, 161 of them parameters, as in torchvision."""

    def __init__(self, classes: int = 10, in_channels: int = 3, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for number, (factor, blocks, stride) in enumerate(STAGES, start=1):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(Bottleneck(channels, factor * width, stride if index == 0 else 1, shortcut=index == 0))
                channels = EXPANSION * factor * width
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Mlp(nn.Module):
    """A block's feed-forward half, with the names which transformers give it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)


class Mixer(nn.Module):
    """Layers called `mlp.fc1`, and a head called `fc`."""

    def __init__(self, classes: int, dim: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"mlp": Mlp(dim)}) for _ in range(2))
        self.fc = nn.Linear(dim, classes)


class Shifted(nn.Module):
    """Layers wrapped as `.net`, as a temporal shift wraps them, beside a head whose own name begins with those letters."""

    def __init__(self, wrapped: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 4, 1)
        self.stem = nn.ModuleDict({"net": conv}) if wrapped else conv
        self.head = nn.ModuleDict({"network": nn.Linear(4, 2)})
