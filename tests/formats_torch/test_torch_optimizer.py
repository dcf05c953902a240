"""Optimizer states of every form: those which torch writes follow, those which it does not are left out and said so; nothing fails."""

from collections import OrderedDict, defaultdict
from typing import Any

import pytest
import torch

import ckpt_surgeon as surgeon

TABLE = {"a": torch.zeros(2, 3), "b": torch.zeros(3), "c": torch.zeros(3)}
RULES = [{"drop": "a"}, {"concat": {"source": "{x:b|c}", "target": "bc"}}]


def entry(seed: float, *shape: int, step: Any = 1) -> dict[str, Any]:
    return {"step": step, "exp_avg": torch.full(shape, seed)}


def held(**parts: Any) -> dict[str, Any]:
    state = {0: entry(0, 2, 3), 1: entry(1, 3), 2: entry(2, 3)}
    return {"state": state, "param_groups": [{"lr": 0.5, "params": [0, 1, 2]}], **parts}


def plan_of(path: Any, optimizer: Any, **more: Any) -> Any:
    torch.save({"model": TABLE, "optimizer": optimizer, **more}, path)
    return surgeon.plan(path, RULES)


FOLLOWING = {
    "numbers": held(),
    "a defaultdict": held(state=defaultdict(dict, held()["state"])),
    "an OrderedDict": OrderedDict(held()),
    "a tuple of groups": held(param_groups=({"lr": 0.5, "params": [0, 1, 2]},)),
    "addresses for ids": held(
        state={1 << 46: entry(0, 2, 3), 7: entry(1, 3), 9: entry(2, 3)}, param_groups=[{"lr": 0.5, "params": [1 << 46, 7, 9]}]
    ),
    "entries in another order": held(state=dict(reversed(held()["state"].items()))),
    "steps of very many digits": held(state={0: entry(0, 2, 3), **{i: entry(i, 3, step=1 << 100_000) for i in (1, 2)}}),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_torch_writes_follows(tmp_path, name):
    plan = plan_of(tmp_path / "a.pt", FOLLOWING[name])
    assert (plan.optimizer.fate, plan.optimizer.followed) == ("followed", ("bc",))
    surgeon.write(plan, tmp_path / "b.pt")
    found = torch.load(tmp_path / "b.pt", weights_only=False)["optimizer"]
    assert list(found["param_groups"]) == [{"lr": 0.5, "params": [0]}]
    assert list(found["state"]) == [0]
    assert found["state"][0]["exp_avg"].tolist() == [1.0] * 3 + [2.0] * 3
    assert type(found["state"]) is type(FOLLOWING[name]["state"])


OTHER = {
    "groups which are none": held(param_groups={}),
    "a group which is no mapping": held(param_groups=[[0, 1, 2]]),
    "a group without parameters": held(param_groups=[{"lr": 0.5}]),
    "an id twice": held(param_groups=[{"params": [0, 1, 1]}]),
    "an id which is no id": held(param_groups=[{"params": [0, 1, None]}]),
    "an id of very many digits": held(param_groups=[{"params": [0, 1, 1 << 100_000]}]),
    "state of no parameter": held(state={**held()["state"], 9: {}}),
    "state which is no mapping": held(state=[1, 2]),
    "an entry which is no mapping": held(state={0: 3}),
    "a name which is no name": held(state={0: {3: 4}}),
    "a name with a dot": held(state={0: {"a.b": 4}}),
    "parameters for ids": held(param_groups=[{"params": list(TABLE.values())}]),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_torch_does_not_write_is_left_out_and_said_so(tmp_path, name):
    plan = plan_of(tmp_path / "a.pt", OTHER[name])
    assert plan.optimizer.fate == "dropped"
    assert "is not what an optimizer's state_dict() gives" in plan.optimizer.why
    surgeon.write(plan, tmp_path / "b.pt")
    assert "optimizer" not in torch.load(tmp_path / "b.pt", weights_only=True)
    assert surgeon.plan(tmp_path / "a.pt", [{"add_prefix": "net."}]).optimizer.fate == "kept"


def test_a_state_of_two_places_stays_one(tmp_path):
    optimizer = held()
    surgeon.write(plan_of(tmp_path / "a.pt", optimizer, again=optimizer), tmp_path / "b.pt")
    found = torch.load(tmp_path / "b.pt", weights_only=True)
    assert found["optimizer"] is found["again"]
    assert list(found["optimizer"]["state"]) == [0]


def test_state_which_is_a_view_of_a_larger_storage_follows(tmp_path):
    optimizer = held()
    whole = torch.arange(12.0).view(3, 4)
    optimizer["state"][1]["exp_avg"], optimizer["state"][2]["exp_avg"] = whole[:, 1], whole[:, 2]
    surgeon.write(plan_of(tmp_path / "a.pt", optimizer), tmp_path / "b.pt")
    found = torch.load(tmp_path / "b.pt", weights_only=True)["optimizer"]["state"][0]["exp_avg"]
    assert found.tolist() == [1.0, 5.0, 9.0, 2.0, 6.0, 10.0]
