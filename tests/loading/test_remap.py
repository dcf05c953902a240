import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, NothingLoadedError, RulesError

STRIP = [{"strip_prefix": "module."}]


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def wrapped() -> dict[str, Any]:
    return nn.DataParallel(net()).state_dict()


@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize("from_file", [False, True])
def test_the_result_is_ready_for_the_models_own_load(tmp_path: Path, from_file: bool, with_model: bool) -> None:
    source: Any = wrapped()
    model = net()
    given = source
    if from_file:
        given = tmp_path / "w.pt"
        torch.save(source, given)
    state = surgeon.remap(given, STRIP, model if with_model else None)
    assert [f"module.{key}" for key in state] == list(source)
    model.load_state_dict(state, strict=True)
    assert all(torch.equal(value, source[f"module.{key}"]) for key, value in model.state_dict().items())


def test_metadata_moves_with_its_modules() -> None:
    state = surgeon.remap(wrapped(), STRIP)
    assert state._metadata == net().state_dict()._metadata  # type: ignore[attr-defined]
    assert not hasattr(surgeon.remap(dict(wrapped()), STRIP), "_metadata")


def test_the_given_state_dict_stays_as_it_is_and_shares_no_memory() -> None:
    source = wrapped()
    before = copy.deepcopy(source)
    state = surgeon.remap(source, STRIP)
    for value in state.values():
        value.zero_()
    assert list(source) == list(before)
    assert all(torch.equal(source[key], before[key]) for key in before)
    assert source._metadata == before._metadata  # type: ignore[attr-defined]


def test_without_a_model_other_keys_pass_through() -> None:
    state = surgeon.remap({"module.a": torch.ones(1), "b": torch.zeros(2), "step": 3}, STRIP)
    assert list(state) == ["a", "b", "step"]
    assert state["step"] == 3


def test_with_a_model_what_is_missing_or_left_over_must_be_allowed() -> None:
    source = {key: value for key, value in wrapped().items() if not key.endswith("bias")}
    with pytest.raises(CoverageError, match="bias"):
        surgeon.remap(source, STRIP, net())
    assert "0.bias" not in surgeon.remap(source, STRIP, net(), allow_missing=["*.bias"])
    with pytest.raises(NothingLoadedError):
        surgeon.remap(wrapped(), [{"add_prefix": "x."}], net())
    state = surgeon.remap({**wrapped(), "aux": torch.ones(1)}, STRIP, net(), allow_unexpected=["aux"])
    assert list(state) == list(net().state_dict())


def test_a_model_gives_sizes_and_order() -> None:
    source = dict(reversed(wrapped().items()))
    target = nn.Sequential(nn.Conv2d(10, 4, 3), nn.BatchNorm2d(4))
    rules = [*STRIP, {"adapt_in_channels": {"match": "0.weight", "mode": "mean", "in_channels": "target"}}]
    state = surgeon.remap(source, rules, target)
    assert list(state) == list(target.state_dict())
    mean = source["module.0.weight"].mean(1, keepdim=True)
    assert torch.allclose(state["0.weight"], mean.expand(4, 10, 3, 3))


def test_tied_tensors_are_one_object_and_copies_are_not() -> None:
    weight = torch.ones(3)
    state = surgeon.remap({"m.a": weight, "m.b": weight}, [{"strip_prefix": "m."}, {"copy": {"a": "c"}}])
    assert state["a"] is state["b"]
    assert state["c"].data_ptr() != state["a"].data_ptr()


def test_variables_reach_the_rules() -> None:
    rules = [{"strip_prefix": "module.", "if": {"form": "wrapped"}}]
    assert "0.weight" in surgeon.remap(wrapped(), rules, variables={"form": "wrapped"})
    assert "module.0.weight" in surgeon.remap(wrapped(), rules, variables={"form": "plain"})
    with pytest.raises(RulesError):
        surgeon.remap(wrapped(), rules)
