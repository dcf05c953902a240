"""A training run which uses what the load knows: what came unchanged learns slowly or not at all, what is new learns fast."""

from __future__ import annotations

from pathlib import Path

import torch
from models import Classifier
from torch import Tensor, nn

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent
STEPS = 60


def images(count: int, channels: int, classes: int) -> tuple[Tensor, Tensor]:
    """Noise, brightened in the channel which the class names."""
    labels = torch.arange(count) % classes
    noise = 0.3 * torch.randn(count, channels, 8, 8)
    return noise + torch.eye(channels)[labels][:, :, None, None], labels


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor]) -> float:
    """The loss at the end, in nats."""
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data[0]), data[1])
        loss.backward()
        optimizer.step()
    return loss.item()


def main() -> None:
    torch.manual_seed(0)
    color = Classifier(in_channels=3, classes=3)
    train(color, torch.optim.SGD(color.parameters(), lr=0.3), images(48, 3, 3))

    model = Classifier(in_channels=4, classes=4)
    outcome = surgeon.load(model, color.state_dict(), HERE / "rules.yaml")
    print(f"exact {len(outcome.exact)}, adapted {len(outcome.adapted)}, new {len(outcome.new)}, coverage {outcome.coverage:.0%}")

    surgeon.finetune.freeze(model, ["stage.**"], bn_eval=True)
    groups = surgeon.finetune.param_groups(model, outcome, lr={"exact": 0.01, "adapted": 0.1, "new": 0.5})
    for group in groups:
        print(f"lr {group['lr']}: {sum(parameter.numel() for parameter in group['params'])} elements")

    frozen = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("stage.")}
    loss = train(model, torch.optim.SGD(groups, lr=0.1, momentum=0.9), images(64, 4, 4))
    print("it learns:", loss < 0.2)
    print("what is frozen stays, statistics too:", all(torch.equal(value, model.state_dict()[key]) for key, value in frozen.items()))


if __name__ == "__main__":
    main()
