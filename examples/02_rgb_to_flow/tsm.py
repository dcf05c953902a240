"""A temporal-shift ResNet-50 with its real names, depth and wrappers, and narrow layers: 320 tensors.

The names are those of the published checkpoints: the trunk is `base_model`, the first convolution of each block is wrapped (`.net`)
by the shift, the classifier is `new_fc`, and DataParallel puts `module.` in front of everything.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["flow", "plain", "rgb"]

STAGES = ((1, 3, 1), (2, 4, 2), (4, 6, 2), (8, 3, 2))  # width factor, blocks, stride: a ResNet-50
EXPANSION = 4
SEGMENTS = 8  # frames of a clip
SHARE = 8  # one eighth of the channels moves one frame forward, one eighth backward


class Shift(nn.Module):
    """Moves some channels along the frames before `net`. Source: Lin et al. 2019, "TSM", section 3."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clips = x.unflatten(0, (-1, SEGMENTS))
        fold = max(clips.shape[2] // SHARE, 1)
        moved = clips.clone()
        moved[:, :-1, :fold] = clips[:, 1:, :fold]
        moved[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
        return self.net(moved.flatten(0, 1))


class Block(nn.Module):
    """A bottleneck: [n, c, h, w] -> [n, 4 * width, h / stride, w / stride]."""

    def __init__(self, channels: int, width: int, stride: int, shortcut: bool, shift: bool) -> None:
        super().__init__()
        out = EXPANSION * width
        conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.conv1 = Shift(conv1) if shift else conv1
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        if shortcut:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if hasattr(self, "downsample") else x))


class Trunk(nn.Module):
    """A ResNet-50 without its classifier."""

    def __init__(self, in_channels: int, width: int, shift: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for number, (factor, blocks, stride) in enumerate(STAGES, start=1):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(Block(channels, factor * width, stride if index == 0 else 1, index == 0, shift))
                channels = EXPANSION * factor * width
            self.add_module(f"layer{number}", stage)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Network(nn.Module):
    """[clips * 8, in_channels, h, w] -> [clips, classes]."""

    def __init__(self, in_channels: int, classes: int, shift: bool, width: int) -> None:
        super().__init__()
        self.base_model = Trunk(in_channels, width, shift)
        self.new_fc = nn.Linear(STAGES[-1][0] * EXPANSION * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.new_fc(self.base_model(x)).unflatten(0, (-1, SEGMENTS)).mean(1)


def rgb(width: int = 4, classes: int = 174) -> nn.Module:
    """What the checkpoint was trained as: RGB frames, shift, 174 classes, DataParallel."""
    return nn.DataParallel(Network(3, classes, shift=True, width=width))


def flow(width: int = 4, classes: int = 101) -> nn.Module:
    """What is to be trained: five frames of optical flow (10 channels), no shift, 101 classes, no DataParallel."""
    return Network(10, classes, shift=False, width=width)


def plain(width: int = 4, classes: int = 174) -> nn.Module:
    """The RGB network without shift and DataParallel."""
    return Network(3, classes, shift=False, width=width)
