"""What the demo works on: a small TSM as a model file, its rules, and an RGB checkpoint made from it."""

from __future__ import annotations

import os

from ckpt_surgeon.disk import disk_error
from ckpt_surgeon.errors import DiskError

__all__ = ["CHECKPOINT", "FILES", "MODEL", "OUTPUT", "RULES", "make_checkpoint", "make_files"]

MODEL, RULES, CHECKPOINT, OUTPUT = "tsm_small.py", "rules.yaml", "rgb.pth", "flow.pth"
FILES = (MODEL, RULES, CHECKPOINT, OUTPUT)
_SEED = 2019

_MODEL_TEXT = '''\
"""A TSM ResNet with tiny widths. Written by `ckpt-surgeon demo`."""

import torch
from torch import nn


class Shift(nn.Module):
    """Shifts an eighth of the channels along time (here: the batch); what it wraps is its `.net`."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        part = max(x.shape[1] // 8, 1)
        return self.net(torch.cat([x[:, :part].roll(1, 0), x[:, part:]], dim=1))


class Block(nn.Module):
    def __init__(self, inside, width, stride, shift):
        super().__init__()
        conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.conv1 = Shift(conv1) if shift else conv1
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, in_channels, shift, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for i in range(4):
            inside, outside = width * 2 ** max(i - 1, 0), width * 2**i
            blocks = [Block(inside, outside, 2 if i else 1, shift), Block(outside, outside, 1, shift)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class TSM(nn.Module):
    def __init__(self, classes, in_channels, shift):
        super().__init__()
        self.base_model = ResNet(in_channels, shift)
        self.new_fc = nn.Linear(64, classes)

    def forward(self, x):
        return self.new_fc(self.base_model(x))


def rgb(classes=174):
    """As it was trained: three channels, shifts."""
    return TSM(classes, 3, shift=True)


def flow(classes=101):
    """As it is wanted: ten flow channels, other classes, no shifts."""
    return TSM(classes, 10, shift=False)
'''

_RULES_TEXT = """\
version: 1
rules:
  - align_names: {prefixes: [module., base_model.], segments: [net]}   # the same name but for these parts: take the model's
  - drop: "new_fc.**"
    if: new_dataset                             # a variable: --set new_dataset=true
  - adapt_in_channels: {match: "base_model.conv1.weight", mode: mean, in_channels: target}
    if: {modality: Flow}
    expect: 1                                   # exactly one match, else an error which lists them
allow: {missing: ["new_fc.**"]}                 # what may stay unloaded; anything else is an error
"""


def make_files(folder: str) -> None:
    """Write the model file and the rules. Raises DiskError when the folder holds files of these names which no demo wrote."""
    try:
        os.makedirs(folder, exist_ok=True)
        _refuse_foreign(folder)
        for name, text in ((MODEL, _MODEL_TEXT), (RULES, _RULES_TEXT)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise disk_error(error, folder) from error


def _refuse_foreign(folder: str) -> None:
    """A folder is the demo's own when it holds the demo's model file, to the letter."""
    found = [name for name in FILES if os.path.lexists(os.path.join(folder, name))]
    links = [name for name in found if os.path.islink(os.path.join(folder, name))]
    if found and (links or not _is_own(os.path.join(folder, MODEL))):
        raise DiskError(f"it holds {', '.join(found)}, which no demo wrote", where=folder, hint="name another folder, or an empty one")


def _is_own(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_MODEL_TEXT) + 1) == _MODEL_TEXT.encode()


def make_checkpoint() -> None:
    """Train the RGB model of the current folder for one step and save it as DataParallel would, with what stands around it.

    The current folder must hold the model file.
    """
    import torch

    from ckpt_surgeon.model import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = build(f"{MODEL.removesuffix('.py')}:rgb", device="cpu")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        model(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    weights = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    around = {"epoch": 45, "arch": "tsm_small", "best_prec1": 61.2, "optimizer": optimizer.state_dict()}
    try:
        torch.save({"state_dict": weights, **around}, CHECKPOINT)
    except (OSError, RuntimeError) as error:
        raise DiskError(f"cannot be written: {error}", where=CHECKPOINT) from error
