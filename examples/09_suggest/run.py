"""Rules which write themselves from two headers, and the question which they leave where nobody can know."""

from __future__ import annotations

from pathlib import Path

import models
import torch

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def show(found: surgeon.Suggestion) -> None:
    """The rules without their reasons, which README.md shows."""
    print("".join(f"  {line}\n" for line in found.text.splitlines() if "why:" not in line), end="")


def other_names() -> None:
    source, target = models.Residual(), models.Stages()
    found = surgeon.suggestion(source, target)
    print(f"other names: {len(source.state_dict())} keys, {found.size} names and ops, all settled: {found.is_settled}")
    show(found)
    surgeon.load(target, source, found.rules)
    print("  the last norm came along:", torch.equal(source.layer4[1].bn2.weight, target.stages[3][1].layer[1].normalization.weight))


def twins() -> None:
    run, target = models.contrast_run(), models.Residual()
    found = surgeon.suggestion(run, target)
    print(f"a run which holds the network twice: all settled: {found.is_settled}, open keys: {len(found.open_targets)}")
    (question,) = found.questions
    for answer in question.answers:
        print(f"  it may be: {', '.join(map(str, answer.entries))}")
    try:
        surgeon.load(target, run, found.rules)
    except surgeon.SurgeryError:
        print("  as long as nobody answers, nothing is loaded")
    surgeon.load(target, run, HERE / "answered.yaml")
    print("  answered:", torch.equal(target.conv1.weight, run["module.encoder_q.conv1.weight"]))


def main() -> None:
    torch.manual_seed(0)
    other_names()
    twins()


if __name__ == "__main__":
    main()
