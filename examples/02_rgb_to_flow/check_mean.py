"""Compare the stems: `python check_mean.py rgb.pth flow.pth`."""

from __future__ import annotations

import sys

import torch

if __name__ == "__main__":
    rgb, flow = (torch.load(path, weights_only=True)["state_dict"] for path in sys.argv[1:])
    mean = rgb["module.base_model.conv1.weight"].mean(dim=1, keepdim=True)
    stem = flow["base_model.conv1.weight"]
    print(f"{tuple(stem.shape)}: each channel is the mean of RGB: {torch.equal(stem, mean.expand_as(stem))}")
