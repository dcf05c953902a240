"""A 1x1 convolution is a linear layer: move its weights there and back, without changing a bit of them."""

from __future__ import annotations

from pathlib import Path

import torch
from models import Convolutional, Linear

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def main() -> None:
    torch.manual_seed(0)
    old, new, back = Convolutional(), Linear(), Convolutional()
    images = torch.randn(2, 3, 6, 6)

    for key, (given, wanted) in surgeon.diff(old, new).mismatched.items():
        print(f"differs: {key}: {given} -> {wanted}")

    outcome = surgeon.load(new, old.state_dict(), HERE / "to_linear.yaml")
    print("to_linear.yaml adapts", ", ".join(outcome.adapted))
    print("the same answers:", torch.allclose(old(images), new(images), atol=1e-6))

    surgeon.load(back, new.state_dict(), HERE / "to_convolution.yaml")
    same = all(torch.equal(value, old.state_dict()[key]) for key, value in back.state_dict().items())
    print("and back, bit for bit:", same)

    for given, wanted in ((old, Linear()), (new, Convolutional())):
        outcome = surgeon.load(wanted, given.state_dict(), HERE / "either_way.yaml")
        print(f"either_way.yaml, {type(given).__name__} -> {type(wanted).__name__}: {outcome.coverage:.0%}")


if __name__ == "__main__":
    main()
