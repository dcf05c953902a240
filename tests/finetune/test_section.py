import pytest
import torch
from torch import nn

from ckpt_surgeon import finetune
from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import ModelError, RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.rules import Finetune, FreezeIndex, Head


def net() -> nn.Module:
    return nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "fc": nn.Linear(4, 2)})


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(map(Pattern.parse, texts))


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


OUTCOME = Outcome(exact=("norm.weight", "norm.bias"), adapted=("conv.weight", "conv.bias"), missing_keys=("fc.weight", "fc.bias"))


def test_a_section_freezes_and_groups_as_it_says() -> None:
    model = net()
    section = Finetune(freeze=patterns("norm.**"), lr={"new": 1e-2, "adapted": 1e-3})
    groups = finetune.apply(model, section, OUTCOME)
    assert trainable(model) == ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
    assert not model.train()["norm"].training
    assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [("new", 1e-2, 2), ("adapted", 1e-3, 2)]
    torch.optim.SGD(groups)


def test_a_section_may_freeze_by_index_and_let_norms_learn() -> None:
    model = net()
    section = Finetune(freeze_index=FreezeIndex("state_dict", 7), bn_eval=False, lr={"default": 1e-3})
    groups = finetune.apply(model, section)
    assert trainable(model) == ["fc.weight", "fc.bias"]
    assert model.train()["norm"].training
    assert [group["name"] for group in groups] == ["default"]


def test_an_empty_section_changes_nothing() -> None:
    model = net()
    assert finetune.apply(model, Finetune()) == []
    assert len(trainable(model)) == 6


def test_prepare_gives_the_model_its_head_once() -> None:
    model = net()
    section = Finetune(head=Head("fc", 5))
    new = finetune.prepare(model, section, seed=1)["fc"]
    assert new.out_features == 5
    assert finetune.prepare(model, section)["fc"] is new
    assert finetune.prepare(model, Finetune()) is model
    finetune.apply(model, section)


def test_a_head_which_was_not_replaced_before_the_load_is_an_error_and_nothing_is_frozen() -> None:
    model = net()
    with pytest.raises(RulesError, match="the head 'fc' has 2 outputs, the rules say 5"):
        finetune.apply(model, Finetune(head=Head("fc", 5), freeze=patterns("conv.**")))
    assert len(trainable(model)) == 6


@pytest.mark.parametrize(("name", "error"), [("head", RulesError), ("norm", ModelError)])
def test_a_head_which_is_no_layer_with_outputs_is_refused(name: str, error: type[Exception]) -> None:
    for work in (finetune.prepare, finetune.apply):
        with pytest.raises(error):
            work(net(), Finetune(head=Head(name, 5)))


def test_what_a_section_says_wrong_is_said_as_of_a_call() -> None:
    with pytest.raises(RulesError, match="matches no parameter"):
        finetune.apply(net(), Finetune(freeze=patterns("backbone.**")))
    with pytest.raises(RulesError, match="have no rate"):
        finetune.apply(net(), Finetune(lr={"new": 1}), OUTCOME)
