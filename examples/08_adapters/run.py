"""An old vocoder for a new model and for inference; an adapter merged into its base."""

from __future__ import annotations

from pathlib import Path

import torch
from models import adapted, plain, vocoder

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def an_old_vocoder() -> None:
    old, spectrum = vocoder("old"), torch.randn(2, 8, 10)
    for rules, norm in (("new_names.yaml", "new"), ("baked.yaml", "none")):
        model = vocoder(norm)
        outcome = surgeon.load(model, old.state_dict(), HERE / rules)
        same = torch.allclose(old(spectrum), model(spectrum), atol=1e-6)
        print(f"{rules}: coverage {outcome.coverage:.0%}, adapted {len(outcome.adapted)}; it sounds the same: {same}")


def an_adapter_merged() -> None:
    tuned, model, x = adapted(), plain(), torch.randn(5, 12)
    outcome = surgeon.load(model, tuned.state_dict(), HERE / "merged.yaml")
    answers = tuned["base_model"]["model"](x)
    print(f"merged.yaml: coverage {outcome.coverage:.0%}, adapted: {', '.join(outcome.adapted)}")
    print("  the merged model answers alike:", torch.allclose(answers, model(x), atol=1e-5))


@torch.no_grad()
def main() -> None:
    torch.manual_seed(0)
    an_old_vocoder()
    an_adapter_merged()


if __name__ == "__main__":
    main()
