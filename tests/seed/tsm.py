"""A TSM ResNet-50 in small: the real names and counts (320 tensors), four channels wide."""

from __future__ import annotations

import torch
from torch import nn

STAGES = (3, 4, 6, 3)
WIDTH = 4


class Shift(nn.Module):
    """Stands for TSM's TemporalShift: wraps a module as `.net`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Bottleneck(nn.Module):
    def __init__(self, inside: int, width: int, stride: int, shift: bool, is_first: bool) -> None:
        super().__init__()
        conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.conv1 = Shift(conv1) if shift else conv1
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if is_first:
            self.downsample = nn.Sequential(nn.Conv2d(inside, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        rest = x if self.downsample is None else self.downsample(x)
        return (self.bn3(self.conv3(out)) + rest).relu()


class ResNet(nn.Module):
    def __init__(self, in_channels: int = 3, shift: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inside = WIDTH
        for i, depth in enumerate(STAGES):
            blocks = []
            for j in range(depth):
                blocks.append(Bottleneck(inside, WIDTH * 2**i, 2 if i and not j else 1, shift, not j))
                inside = 4 * WIDTH * 2**i
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        for i in range(len(STAGES)):
            x = getattr(self, f"layer{i + 1}")(x)
        return x.mean((2, 3))


class TSN(nn.Module):
    def __init__(self, classes: int, in_channels: int, shift: bool) -> None:
        super().__init__()
        self.base_model = ResNet(in_channels, shift)
        self.new_fc = nn.Linear(4 * WIDTH * 8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.new_fc(self.base_model(x))


def rgb(classes: int = 174) -> nn.Module:
    """As it was trained: DataParallel's `module.`, shifts, RGB."""
    holder = nn.Module()
    holder.module = TSN(classes, 3, shift=True)
    return holder


def flow(classes: int = 101) -> nn.Module:
    """As it is wanted: no DataParallel, no shifts, 10 flow channels."""
    return TSN(classes, 10, shift=False)


def flow_shifted(classes: int = 101) -> nn.Module:
    """The other way round: DataParallel and shifts, from a checkpoint which has neither."""
    holder = nn.Module()
    holder.module = TSN(classes, 10, shift=True)
    return holder
