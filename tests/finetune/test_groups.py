import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ckpt_surgeon import finetune
from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import ModelError, RulesError


def net() -> nn.Module:
    return nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "mid": nn.Linear(4, 4), "fc": nn.Linear(4, 2)})


OUTCOME = Outcome(
    exact=("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    filled=("norm.num_batches_tracked",),
    renamed=("mid.weight", "mid.bias"),
    adapted=("conv.weight", "conv.bias"),
    initialized=("fc.bias",),
    missing_keys=("fc.weight",),
)


def named(model: nn.Module, groups: list[dict[str, object]]) -> dict[str, list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {str(group["name"]): [names[id(parameter)] for parameter in group["params"]] for group in groups}  # type: ignore[attr-defined]


CONV, NORM, MID, FC = (["conv.weight", "conv.bias"], ["norm.weight", "norm.bias"], ["mid.weight", "mid.bias"], ["fc.weight", "fc.bias"])


@pytest.mark.parametrize(
    ("lr", "default", "expected"),
    [
        ({"exact": 1, "adapted": 2, "new": 3}, None, {"exact": NORM + MID, "adapted": CONV, "new": FC}),
        ({"new": 3, "adapted": 2, "renamed": 4, "exact": 1}, None, {"new": FC, "adapted": CONV, "renamed": MID, "exact": NORM}),
        ({"exact": 1, "adapted": 2, "initialized": 3, "missing": 4}, None,
         {"exact": NORM + MID, "adapted": CONV, "initialized": ["fc.bias"], "missing": ["fc.weight"]}),
        ({"missing": 4, "new": 3}, 1, {"missing": ["fc.weight"], "new": ["fc.bias"], "default": CONV + NORM + MID}),
        ({"new": 3}, 0.1, {"new": FC, "default": CONV + NORM + MID}),
        ({"fc.**": 3, "exact": 1, "new": 9}, 2, {"fc.**": FC, "exact": NORM + MID, "default": CONV}),
        ({"**.bias": 3, "exact": 1, "adapted": 2, "new": 9}, None,
         {"**.bias": ["conv.bias", "norm.bias", "mid.bias", "fc.bias"],
          "exact": ["norm.weight", "mid.weight"], "adapted": ["conv.weight"], "new": ["fc.weight"]}),
        ({"**": 1}, None, {"**": CONV + NORM + MID + FC}),
        ({"default": 1, "new": 2}, None, {"default": CONV + NORM + MID, "new": FC}),
        ({}, 1, {"default": CONV + NORM + MID + FC}),
    ],
)  # fmt: skip
def test_each_parameter_takes_the_rate_of_its_pattern_else_of_its_class(
    lr: dict[str, float], default: float | None, expected: dict[str, list[str]]
) -> None:
    model = net()
    groups = finetune.param_groups(model, OUTCOME, lr, default=default)
    assert named(model, groups) == expected
    rates = {**lr, **({} if default is None else {"default": default})}
    assert [group["lr"] for group in groups] == [rates[name] for name in expected]


def test_patterns_need_no_outcome() -> None:
    model = net()
    groups = finetune.param_groups(model, lr={"fc.**": 1e-2}, default=1e-3)
    assert named(model, groups) == {"fc.**": FC, "default": CONV + NORM + MID}


def test_frozen_parameters_are_in_no_group() -> None:
    model = net()
    finetune.freeze(model, ["conv.**", "norm.**"])
    assert named(model, finetune.param_groups(model, OUTCOME, {"exact": 1, "new": 2})) == {"exact": MID, "new": FC}


def test_weight_decay_spares_biases_and_norms() -> None:
    model = net()
    groups = finetune.param_groups(model, OUTCOME, {"new": 2}, default=1, weight_decay=0.05)
    assert named(model, groups) == {
        "new": ["fc.weight"],
        "new/no_decay": ["fc.bias"],
        "default": ["conv.weight", "mid.weight"],
        "default/no_decay": ["conv.bias", *NORM, "mid.bias"],
    }
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0, 0.05, 0.0]
    assert [group["lr"] for group in groups] == [2, 2, 1, 1]


def test_weight_decay_reaches_vectors_when_that_is_said() -> None:
    model = net()
    groups = finetune.param_groups(model, default=1, weight_decay=0.05, decay_vectors=True)
    assert named(model, groups) == {"default": CONV + NORM + MID + FC}
    assert groups[0]["weight_decay"] == 0.05


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_the_groups_are_ready_for_torchs_optimizers(optimizer: type[torch.optim.Optimizer]) -> None:
    model = net()
    groups = finetune.param_groups(model, OUTCOME, {"exact": 1e-4, "adapted": 1e-3, "new": 1e-2}, weight_decay=0.1)
    made = optimizer(groups, lr=99.0)  # type: ignore[call-arg]
    assert {group["name"].split("/")[0]: group["lr"] for group in made.param_groups} == {"exact": 1e-4, "adapted": 1e-3, "new": 1e-2}
    made.load_state_dict(made.state_dict())
    model["fc"](torch.ones(1, 4)).sum().backward()
    made.step()


def test_a_tied_parameter_stands_in_one_group_and_counts_as_loaded_under_either_name() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    model["head"].weight = model["embed"].weight
    for outcome in (Outcome(exact=("head.weight",), missing_keys=("embed.weight",)), Outcome(exact=("embed.weight",))):
        groups = finetune.param_groups(model, outcome, {"exact": 1, "new": 2})
        assert named(model, groups) == {"exact": ["embed.weight"]}
    assert named(model, finetune.param_groups(model, lr={"head.*": 1})) == {"head.*": ["embed.weight"]}


def test_a_parameter_without_a_rate_is_an_error_which_names_it_and_its_class() -> None:
    with pytest.raises(RulesError, match=r"2 parameters have no rate: conv.weight \(adapted\), conv.bias \(adapted\)"):
        finetune.param_groups(net(), OUTCOME, {"exact": 1, "new": 2})


def test_a_part_which_the_outcome_does_not_know_needs_a_rate_of_its_own() -> None:
    model = net()
    model["adapter"] = nn.Linear(2, 2)
    lr = {"exact": 1, "adapted": 2, "new": 3}
    with pytest.raises(RulesError, match=r"have no rate: adapter.weight, adapter.bias"):
        finetune.param_groups(model, OUTCOME, lr)
    groups = finetune.param_groups(model, OUTCOME, {**lr, "adapter.*": 4})
    assert named(model, groups)["adapter.*"] == ["adapter.weight", "adapter.bias"]


def test_a_parameter_with_two_patterns_is_an_error_which_names_both() -> None:
    with pytest.raises(RulesError, match=r"fc.weight has two rates: 'fc.\*\*' and '\*\*.weight'"):
        finetune.param_groups(net(), lr={"fc.**": 1, "**.weight": 2}, default=1)


@pytest.mark.parametrize(
    ("lr", "said", "hint"),
    [
        ({"head.**": 1}, "'head.\\*\\*' matches no parameter", "the classes are exact"),
        ({"exakt": 1}, "'exakt' matches no parameter", "did you mean the class 'exact'?"),
        ({"norm.running_mean": 1}, "matches no parameter", ""),
        ({"conv": 1}, "matches no parameter", ""),
        ({"mid.**": 1}, "matches only frozen parameters", "freeze less"),
        ({"{": 1}, "never closed|brace", ""),
    ],
)
def test_a_pattern_without_a_parameter_to_train_is_an_error(lr: dict[str, float], said: str, hint: str) -> None:
    model = net()
    finetune.freeze(model, "mid.**")
    with pytest.raises(RulesError, match=said) as caught:
        finetune.param_groups(model, OUTCOME, lr, default=1)
    assert hint in caught.value.hint


@pytest.mark.parametrize("rate", [-1, -1e-9, math.nan, math.inf, True, "0.1", None])
def test_a_rate_which_is_none_is_refused(rate: object) -> None:
    with pytest.raises(RulesError, match="a rate is a number of at least 0"):
        finetune.param_groups(net(), lr={"**": rate})  # type: ignore[dict-item]
    if rate is not None:
        with pytest.raises(RulesError, match="a rate is a number of at least 0"):
            finetune.param_groups(net(), default=0, weight_decay=rate)  # type: ignore[arg-type]


def test_a_rate_of_zero_is_a_rate() -> None:
    assert finetune.param_groups(net(), lr={"**": 0})[0]["lr"] == 0


def test_a_class_without_an_outcome_is_an_error() -> None:
    with pytest.raises(RulesError, match="'new' is a class of an outcome"):
        finetune.param_groups(net(), lr={"new": 1}, default=1)


def test_an_outcome_of_another_model_is_not_swept_into_the_default() -> None:
    wrapped = nn.DataParallel(net())
    with pytest.raises(RulesError, match=r"knows none of the model's parameters \(first: module.conv.weight\)"):
        finetune.param_groups(wrapped, OUTCOME, {"new": 1}, default=1)


def test_nothing_to_train_is_an_error() -> None:
    model = net()
    finetune.freeze(model, "**")
    with pytest.raises(RulesError, match="nothing to train"):
        finetune.param_groups(model, default=1)


def test_a_lazy_parameter_is_refused_until_its_shape_is_known() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ModelError, match=r"0.weight, 0.bias: not initialized yet"):
        finetune.param_groups(model, default=1)
    model(torch.ones(1, 2))
    assert len(finetune.param_groups(model, default=1)[0]["params"]) == 2


NAMES = [name for name, _ in net().named_parameters()]
CLASSES = ["exact", "renamed", "adapted", "initialized", "missing_keys"]


@given(
    classes=st.lists(st.sampled_from(CLASSES), min_size=len(NAMES), max_size=len(NAMES)),
    frozen=st.sets(st.sampled_from(NAMES), max_size=len(NAMES) - 1),
    patterns=st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1), max_size=3),
    rates=st.dictionaries(st.sampled_from(finetune.groups.CLASSES), st.floats(0, 1)),
    weight_decay=st.none() | st.floats(0, 1),
)
def test_nothing_twice_and_nothing_forgotten(
    classes: list[str], frozen: set[str], patterns: dict[str, float], rates: dict[str, float], weight_decay: float | None
) -> None:
    model = net()
    finetune.freeze(model, frozen)
    outcome = Outcome(**{class_: tuple(n for n, c in zip(NAMES, classes, strict=True) if c == class_) for class_ in CLASSES})
    lr = {**rates, **{name: rate for name, rate in patterns.items() if name not in frozen}}
    groups = finetune.param_groups(model, outcome, lr, default=1, weight_decay=weight_decay)
    found = [name for names in named(model, groups).values() for name in names]
    assert sorted(found) == sorted(set(NAMES) - frozen)
    assert all(group["params"] for group in groups)
