"""A small vision transformer, and a small ResNet in two or three dims; parameters have their usual names."""

from __future__ import annotations

import torch
from torch import nn

DIM, PATCH = 16, 4


class VisionTransformer(nn.Module):
    """Class token, learned positions, one block, a head."""

    def __init__(self, grid: int, classes: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + grid * grid, DIM))
        self.patch_embed = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.block = nn.TransformerEncoderLayer(DIM, 2, 4 * DIM, dropout=0.0, batch_first=True)
        self.head = nn.Linear(DIM, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[n, 3, h, w] -> [n, classes]`."""
        patches = self.patch_embed(images).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.block(tokens)[:, 0])


class ResNet(nn.Module):
    """A stem and one residual block; time: the frames of each kernel, 0 for images."""

    def __init__(self, time: int = 0) -> None:
        super().__init__()
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if time else (nn.Conv2d, nn.BatchNorm2d)

        def layer(taken: int, given: int) -> nn.Module:
            kernel, padding = ((time, 3, 3), (time // 2, 1, 1)) if time else ((3, 3), (1, 1))
            return convolution(taken, given, kernel, padding=padding, bias=False)

        self.conv1, self.bn1 = layer(3, 8), norm(8)
        self.layer1 = nn.ModuleList([nn.ModuleDict({"conv1": layer(8, 8), "bn1": norm(8)})])
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[n, 3, h, w]` or `[n, 3, t, h, w] -> [n, 5]`, or for a video `[n, t, 5]`."""
        x = self.bn1(self.conv1(x)).relu()
        block = self.layer1[0]
        x = (x + block["bn1"](block["conv1"](x))).relu().mean((-2, -1))
        return self.fc(x.mT if x.dim() > 2 else x)
