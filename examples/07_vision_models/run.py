"""Larger images with other classes, and a video network from an image network."""

from __future__ import annotations

from pathlib import Path

import torch
from models import PATCH, ResNet, VisionTransformer

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def labels(name: str) -> list[str]:
    return (HERE / name).read_text(encoding="utf-8").split()


def larger_images() -> None:
    old_labels, new_labels = labels("labels_22k.txt"), labels("labels_1k.txt")
    old, new = VisionTransformer(4, len(old_labels)).eval(), VisionTransformer(6, len(new_labels)).eval()
    outcome = surgeon.load(new, old.state_dict(), HERE / "larger_images.yaml")
    print(f"larger_images.yaml: coverage {outcome.coverage:.0%}; adapted: {', '.join(outcome.adapted)}")
    print("  positions:", list(old.pos_embed.shape), "->", list(new.pos_embed.shape))
    for i, label in enumerate(new_labels):
        row = old_labels.index(label) if label in old_labels else None
        found = "the mean of all rows" if row is None else f"row {row}"
        wanted = old.head.weight.mean(0) if row is None else old.head.weight[row]
        print(f"  {label}: {found}: {torch.allclose(new.head.weight[i], wanted)}")
    print("  answers to larger images:", list(new(torch.randn(2, 3, 6 * PATCH, 6 * PATCH)).shape))


def two_to_three_dims() -> None:
    flat, deep = ResNet().eval(), ResNet(time=3).eval()
    outcome = surgeon.load(deep, flat.state_dict(), HERE / "two_to_three_dims.yaml")
    print(f"two_to_three_dims.yaml: coverage {outcome.coverage:.0%}; adapted: {', '.join(outcome.adapted)}")
    images = torch.randn(2, 3, 8, 8)
    answers = deep(images[:, :, None].expand(-1, -1, 5, -1, -1))
    print("  every frame is answered as the image was:", all(torch.allclose(answers[:, t], flat(images), atol=1e-5) for t in range(5)))


@torch.no_grad()
def main() -> None:
    torch.manual_seed(0)
    larger_images()
    two_to_three_dims()


if __name__ == "__main__":
    main()
