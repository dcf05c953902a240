"""Low-rank adapters beside weights which the target has plain: merged or left out is one question; what has no adapter stays settled."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from headers import header

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.writing import Suggestion

Shapes = dict[str, tuple[int, ...]]

PEFT = {"base": "{}.base_layer.weight", "down": "{}.lora_A.default.weight", "up": "{}.lora_B.default.weight"}
OTHERS: dict[str, dict[str, str]] = {
    "peft": PEFT,
    "peft, saved without its wrappers": {"base": "{}.weight", "down": "{}.lora_A.weight", "up": "{}.lora_B.weight"},
    "loralib": {"base": "{}.weight", "down": "{}.lora_A", "up": "{}.lora_B"},
    "kohya": {"base": "{}.weight", "down": "{}.lora_down.weight", "up": "{}.lora_up.weight", "alpha": "{}.alpha"},
}


def _layer(name: str, names: Mapping[str, str], weight: Sequence[int] = (12, 8), rank: int = 2) -> Shapes:
    shapes = {"base": tuple(weight), "down": (rank, *weight[1:]), "up": (weight[0], rank), "alpha": ()}
    return {text.format(name): shapes[role] for role, text in names.items()}


def _source(names: Mapping[str, str], prefix: str = "") -> Shapes:
    made: Shapes = {f"{prefix}stem.weight": (8, 3, 4, 4), f"{prefix}stem.bias": (8,)}
    for i in range(3):
        made |= _layer(f"{prefix}layers.{i}.fc", names) | {f"{prefix}layers.{i}.norm.weight": (8,)}
    return made


def _target(name: str = "layers.{}.fc") -> Shapes:
    made: Shapes = {"stem.weight": (8, 3, 4, 4), "stem.bias": (8,)}
    for i in range(3):
        made |= {f"{name.format(i)}.weight": (12, 8), f"layers.{i}.norm.weight": (8,)}
    return made


def _operations(found: Suggestion, answer: int) -> list[str]:
    (question,) = found.questions
    return [next(iter(entry)) for entry in question.answers[answer].entries]


@pytest.mark.parametrize("order", ["natural", "sorted"])
@pytest.mark.parametrize("prefix", ["", "base_model.model."])
@pytest.mark.parametrize("kind", OTHERS)
def test_merged_or_left_out_is_one_question(kind: str, prefix: str, order: str) -> None:
    source, target = _source(OTHERS[kind], prefix), _target()
    given = header(dict(sorted(source.items())) if order == "sorted" else source)
    found = surgeon.suggestion(given, header(target))
    assert set(found.open_targets) == {f"layers.{i}.fc.weight" for i in range(3)}
    assert {key for family in found.families for link in family.links for key in link.targets} == target.keys() - set(found.open_targets)
    assert _operations(found, 0) == ["merge_lora"]
    assert "merge_lora" not in _operations(found, 1)
    assert not set(found.unused) & {text.format(f"{prefix}layers.0.fc") for text in OTHERS[kind].values()}


@pytest.mark.parametrize("kind", OTHERS)
def test_alpha_is_the_tensor_beside_the_adapter_or_the_rank(kind: str) -> None:
    found = surgeon.suggestion(header(_source(OTHERS[kind])), header(_target()))
    (entry,) = found.questions[0].answers[0].entries
    is_told = "alpha" in OTHERS[kind]
    assert {len(link.sources) for link in found.questions[0].answers[0].links} == {3 + is_told}
    assert entry["merge_lora"].get("alpha") == (None if is_told else 2)


def _answered(found: Suggestion, answer: int) -> dict[str, Any]:
    """A rules file in which the question is answered and the rule deleted which waits for it."""
    import yaml

    document = yaml.safe_load(found.text)
    settled = [rule for rule in document["rules"] or [] if not str(rule.get("why", "")).startswith("open")]
    return {**document, "rules": [*settled, *found.questions[0].answers[answer].entries]}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["layers.{}.fc", "layers.{}.linear"])
def test_the_first_answer_merges_and_the_second_keeps_the_weight(kind: str, name: str) -> None:
    names = OTHERS[kind]
    generator = torch.Generator().manual_seed(1)
    state = {key: torch.randn(shape, generator=generator) for key, shape in _source(names).items()}
    target = {key: torch.empty(shape) for key, shape in _target(name).items()}
    found = surgeon.suggestion(state, target)
    base, down, up = (state[names[role].format("layers.1.fc")] for role in ("base", "down", "up"))
    factor = state[names["alpha"].format("layers.1.fc")] / 2 if "alpha" in names else 1.0
    key = f"{name.format(1)}.weight"
    for answer, wanted in ((0, base + up @ down * factor), (1, base)):
        made = surgeon.remap(state, _answered(found, answer), target)
        torch.testing.assert_close(made[key], wanted)


def test_parts_are_merged_before_they_are_laid_together() -> None:
    source: Shapes = {}
    for i in range(2):
        for name in ("q_proj", "k_proj", "v_proj"):
            source |= _layer(f"layers.{i}.attn.{name}", PEFT, (8, 8))
    target = {f"blocks.{i}.attn.qkv.weight": (24, 8) for i in range(2)}
    found = surgeon.suggestion(header(source), header(target))
    assert _operations(found, 0) == ["merge_lora", "concat"]
    assert _operations(found, 1) == ["drop", "concat"]


def test_a_weight_which_lies_the_other_way_says_so() -> None:
    source = {"h.0.c_fc.weight": (8, 12), "h.0.c_fc.lora_A.weight": (2, 8), "h.0.c_fc.lora_B.weight": (12, 2), "ln.weight": (8,)}
    found = surgeon.suggestion(header(source), header({"h.0.c_fc.weight": (8, 12), "ln.weight": (8,)}))
    (entry,) = found.questions[0].answers[0].entries
    assert entry["merge_lora"]["fan_in_fan_out"] is True


def test_of_several_adapters_each_may_be_merged() -> None:
    source = _layer("fc", PEFT) | _layer("fc", {role: text.replace("default", "style") for role, text in PEFT.items()})
    found = surgeon.suggestion(header(source), header({"fc.weight": (12, 8)}))
    (question,) = found.questions
    taken = [{key for link in answer.links for key in link.sources if "lora" in key} for answer in question.answers]
    assert taken == [{f"fc.lora_{side}.{name}.weight" for side in "AB"} for name in ("default", "style")] + [set()]


LEFT_ALONE: dict[str, tuple[Shapes, Shapes]] = {
    "a target with adapters": (_layer("fc", PEFT), _layer("fc", PEFT)),
    "half an adapter": ({"fc.weight": (12, 8), "fc.lora_A.weight": (2, 8)}, {"fc.weight": (12, 8)}),
    "an adapter of another size": ({"fc.weight": (12, 8), "fc.lora_A.weight": (2, 9), "fc.lora_B.weight": (12, 2)}, {"fc.weight": (12, 8)}),
    "an adapter of another rank": ({"fc.weight": (12, 8), "fc.lora_A.weight": (2, 8), "fc.lora_B.weight": (12, 3)}, {"fc.weight": (12, 8)}),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_no_adapter_of_the_weight_is_no_question(name: str) -> None:
    source, target = LEFT_ALONE[name]
    mapping = match(header(source), header(target))
    assert {link.targets: link.sources for family in mapping.families for link in family.links} == {(key,): (key,) for key in target}
    assert not any(family.doubt for family in mapping.families)


def test_a_weight_which_nothing_takes_brings_no_question() -> None:
    source = _source(PEFT) | _layer("extra", PEFT, (40, 40))
    found = surgeon.suggestion(header(source), header(_target()))
    assert set(found.open_targets) == {f"layers.{i}.fc.weight" for i in range(3)}
    assert "extra.base_layer.weight" in found.unused
