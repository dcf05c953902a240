"""New heads over a frozen, pretrained backbone; and the checkpoint of an old run with the spectral norm of its day."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from models import Backbone, Critic

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def wrap_a_backbone(critic: Critic) -> None:
    outcome = surgeon.load(critic, Backbone().state_dict(), HERE / "wrap.yaml")
    print(f"wrap.yaml: {len(outcome.renamed)} tensors of the backbone under new names, coverage {outcome.coverage:.0%}")
    print("  left out:", ", ".join(outcome.dropped))
    print("  new:", *outcome.new, sep="\n    ")


def freeze_it(critic: Critic) -> None:
    surgeon.finetune.freeze(critic, ["backbone.**"], bn_eval=True)
    statistics = critic.backbone.features[1].running_mean.clone()
    critic.train()
    critic(torch.randn(4, 3, 5, 5)).sum().backward()
    print("frozen: what learns:", ", ".join(name for name, parameter in critic.named_parameters() if parameter.grad is not None))
    print("frozen: statistics stay through train():", torch.equal(statistics, critic.backbone.features[1].running_mean))


def resume_an_old_run(critic: Critic) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch says, rightly, that the old spectral norm is deprecated
        old = Critic(hooked=True)
    surgeon.load(critic, old.state_dict(), HERE / "from_2019.yaml")
    images = torch.randn(4, 3, 5, 5)
    same = torch.allclose(old.eval()(images), critic.eval()(images), atol=1e-5)
    print("from_2019.yaml: the old run's critic gives the same answers:", same)


def main() -> None:
    torch.manual_seed(0)
    critic = Critic()
    wrap_a_backbone(critic)
    freeze_it(critic)
    resume_an_old_run(Critic())


if __name__ == "__main__":
    main()
