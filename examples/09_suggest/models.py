"""A residual network in the names of two libraries, and a run of momentum contrast, which holds it twice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["Residual", "Stages", "contrast_run"]


class Block(nn.Module):
    """Two convolutions and their norms; `downsample` where the width changes, as torchvision has it."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))


class Residual(nn.Module):
    """A stem, four stages and a head, in torchvision's names."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        for stage, (before, width) in enumerate(((8, 8), (8, 16), (16, 32), (32, 64)), 1):
            setattr(self, f"layer{stage}", nn.Sequential(Block(before, width), Block(width, width)))
        self.fc = nn.Linear(64, classes)


class Unit(nn.Module):
    """A convolution with its norm inside."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, width, kernel, bias=False)
        self.normalization = nn.BatchNorm2d(width)


class Layer(nn.Module):
    """The same block in another library's names."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        if before != width:
            self.shortcut = Unit(before, width, 1)
        self.layer = nn.Sequential(Unit(before, width, 3), Unit(width, width, 3))


class Stages(nn.Module):
    """The same network there: its stem is an embedder, its stages count from 0, and it has other classes."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.embedder = Unit(3, 8, 7)
        widths = ((8, 8), (8, 16), (16, 32), (32, 64))
        self.stages = nn.ModuleList(nn.Sequential(Layer(before, width), Layer(width, width)) for before, width in widths)
        self.classifier = nn.Linear(64, classes)


def contrast_run() -> Mapping[str, torch.Tensor]:
    """What a run of momentum contrast leaves: an encoder, its moving average, and a queue of keys."""
    tables = {name: Residual().state_dict() for name in ("encoder_q", "encoder_k")}
    found = {f"module.{name}.{key}": tensor for name, table in tables.items() for key, tensor in table.items() if not key.startswith("fc.")}
    return {**found, "module.queue": torch.randn(16, 32)}
