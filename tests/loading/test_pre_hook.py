import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, RulesError

STRIP = [{"strip_prefix": "module."}]


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def holding(hook: Any) -> nn.Module:
    model = net()
    model.register_load_state_dict_pre_hook(hook)
    return model


def loaded(model: nn.Module, source: dict[str, Any]) -> bool:
    return all(torch.equal(value, source[f"module.{key}"]) for key, value in model.state_dict().items())


def test_the_hook_lets_an_ordinary_strict_load_take_the_other_names() -> None:
    source = nn.DataParallel(net()).state_dict()
    before = copy.deepcopy(source)
    model = holding(surgeon.pre_hook(STRIP))
    result = model.load_state_dict(source, strict=True)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert loaded(model, source)
    assert list(source) == list(before)


def test_without_the_hook_the_same_load_fails() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        net().load_state_dict(nn.DataParallel(net()).state_dict())


def test_a_hook_on_a_part_rewrites_that_part_alone() -> None:
    model = nn.ModuleDict({"backbone": holding(surgeon.pre_hook([{"replace": {"net": ""}}])), "head": nn.Linear(2, 2)})
    part, head = net().state_dict(), nn.Linear(2, 2).state_dict()
    source = {f"backbone.net.{key}": value for key, value in part.items()} | {f"head.{key}": value for key, value in head.items()}
    model.load_state_dict(source, strict=True)
    assert torch.equal(model["backbone"][0].weight, part["0.weight"])
    assert torch.equal(model["head"].weight, head["weight"])


class Versioned(nn.Linear):
    _version = 3
    seen: list[Any]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        self.seen.append(metadata.get("version"))
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_submodules_meet_the_version_of_the_module_from_which_their_weights_come() -> None:
    Versioned.seen = []
    model = nn.ModuleDict({"new": Versioned(2, 2)})
    model.register_load_state_dict_pre_hook(surgeon.pre_hook([{"rename": {"old.{x}": "new.{x}"}}]))
    model.load_state_dict(nn.ModuleDict({"old": Versioned(2, 2)}).state_dict())
    assert Versioned.seen == [3]


def test_what_the_rules_do_not_allow_raises_before_anything_is_copied() -> None:
    source = {key: value for key, value in nn.DataParallel(net()).state_dict().items() if not key.endswith("0.bias")}
    model = holding(surgeon.pre_hook(STRIP))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CoverageError, match=r"0\.bias"):
        model.load_state_dict(source, strict=False)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_the_rules_allow_to_be_missing_is_torchs_to_report() -> None:
    source = {key: value for key, value in nn.DataParallel(net()).state_dict().items() if not key.endswith("0.bias")}
    model = holding(surgeon.pre_hook({"version": 1, "rules": STRIP, "allow": {"missing": ["0.bias"]}}))
    assert model.load_state_dict(source, strict=False).missing_keys == ["0.bias"]


def test_the_models_own_files_need_rules_which_may_match_nothing() -> None:
    own = net().state_dict()
    with pytest.raises(RulesError):
        holding(surgeon.pre_hook(STRIP)).load_state_dict(own)
    model = holding(surgeon.pre_hook([{"strip_prefix": "module.", "expect": "any"}]))
    model.load_state_dict(own)
    assert torch.equal(model[0].weight, own["0.weight"])


def test_a_bad_rule_is_refused_when_the_hook_is_made() -> None:
    with pytest.raises(RulesError):
        surgeon.pre_hook([{"strip_prefixes": "module."}])


def test_a_model_with_the_hook_can_be_copied_and_pickled() -> None:
    model = holding(surgeon.pre_hook(STRIP))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    source = nn.DataParallel(net()).state_dict()
    for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        twin.load_state_dict(source, strict=True)
        assert loaded(twin, source)


def test_a_model_on_meta_may_take_the_tensors_over() -> None:
    with torch.device("meta"):
        model = holding(surgeon.pre_hook(STRIP))
    source = nn.DataParallel(net()).state_dict()
    model.load_state_dict(source, strict=True, assign=True)
    assert loaded(model, source)
