"""Write a checkpoint as a training run leaves it: `python make_checkpoint.py rgb rgb.pth`."""

from __future__ import annotations

import sys

import torch
import tsm

if __name__ == "__main__":
    name, path = sys.argv[1:]
    torch.manual_seed(0)
    torch.save({"epoch": 25, "arch": "resnet50", "state_dict": getattr(tsm, name)().state_dict()}, path)
