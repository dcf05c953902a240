"""The optimizer follows the weights: a step after a surgery is the surgery of the step."""

from collections.abc import Callable, Iterable
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from torch import Tensor

import ckpt_surgeon as surgeon

Table = dict[str, Tensor]
Make = Callable[[list[tuple[str, torch.nn.Parameter]]], torch.optim.Optimizer]

SHAPES = {
    "a.q.weight": (4, 6),
    "a.k.weight": (4, 6),
    "a.v.weight": (4, 6),
    "a.qkv.bias": (12,),
    "conv.weight": (4, 3, 1, 1),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "head.weight": (5, 4),
}


def numbers(seed: int) -> Table:
    torch.manual_seed(seed)
    return {key: torch.randn(shape) for key, shape in SHAPES.items()}


def plainly(kind: type[torch.optim.Optimizer], **options: Any) -> Make:
    return lambda named: kind([parameter for _, parameter in named], foreach=False, **options)


def by_name(named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
    return torch.optim.Adam(named, lr=0.1, foreach=False)


def stepped(table: Table, make: Make, grads: Iterable[Table], state: dict[str, Any] | None = None) -> tuple[Table, dict[str, Any]]:
    """The table after a step for each of the gradients, and the optimizer's state."""
    named = [(key, torch.nn.Parameter(value.clone())) for key, value in table.items()]
    optimizer = make(named)
    if state is not None:
        optimizer.load_state_dict(state)
    for grad in grads:
        for key, parameter in named:
            parameter.grad = grad[key].clone() if key in grad else None
        optimizer.step()
    return {key: parameter.detach() for key, parameter in named}, optimizer.state_dict()


def saved(path: Any, make: Make, *, frozen: str = "") -> tuple[Table, dict[str, Any]]:
    """A checkpoint of two steps, written to `path`."""
    grads = [{key: value for key, value in numbers(seed).items() if key != frozen} for seed in (1, 2)]
    table, state = stepped(numbers(0), make, grads)
    torch.save({"model": table, "optimizer": state, "epoch": 3}, path)
    return table, state


def remapped(path: Any, rules: list[Any], target: Any = None, **options: Any) -> dict[str, Any]:
    """What the surgery writes, as torch loads it."""
    surgeon.write(surgeon.plan(path, rules, target, **options), path.with_name("out.pt"))
    return torch.load(path.with_name("out.pt"), weights_only=True)


def same(first: Table, second: Table) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


SWAP = [{"rename": {"norm.weight": "norm.bias", "norm.bias": "norm.weight"}}]
OPTIMIZERS: dict[str, Make] = {
    "adam": plainly(torch.optim.Adam, lr=0.1),
    "adamw with amsgrad": plainly(torch.optim.AdamW, lr=0.1, amsgrad=True),
    "sgd with momentum": plainly(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "rmsprop": plainly(torch.optim.RMSprop, lr=0.1, momentum=0.9, centered=True),
    "adagrad": plainly(torch.optim.Adagrad, lr=0.1),
    "adadelta": plainly(torch.optim.Adadelta, lr=0.1),
    "nadam": plainly(torch.optim.NAdam, lr=0.1),
    "adamax": plainly(torch.optim.Adamax, lr=0.1),
    "rprop": plainly(torch.optim.Rprop, lr=0.1),
    "by name": by_name,
}
SURGERIES: dict[str, list[Any]] = {
    "rename": [{"rename": {"a.{x:q|k|v}.weight": "attn.{x}_proj.w"}}],
    "concat": [{"concat": {"source": "a.{x:q|k|v}.weight", "target": "a.qkv.weight", "dim": 0}}],
    "concat within rows": [{"concat": {"source": "a.{x:q|k|v}.weight", "target": "a.qkv.weight", "dim": 1}}],
    "split": [{"split": {"source": "a.qkv.bias", "target": "a.{x:q|k|v}.bias", "dim": 0}}],
    "split within rows": [{"split": {"source": "head.weight", "target": "head.{i:int}.weight", "dim": 1, "sizes": [1, 3]}}],
    "stack": [{"stack": {"source": "a.{x:q|k|v}.weight", "target": "a.qkv"}}],
    "reshape": [{"reshape": {"match": "conv.weight", "shape": [4, 3]}}],
    "squeeze": [{"squeeze": {"match": "conv.weight", "dims": [2, 3]}}],
    "transpose": [{"transpose": {"match": "head.weight"}}],
    "permute": [{"permute": {"match": "conv.weight", "dims": [1, 0, 2, 3]}}],
    "rows taken": [{"slice": {"match": "head.weight", "dim": 0, "start": 1, "stop": 3}}],
    "several at once": [
        {"transpose": {"match": "a.*.weight"}},
        {"stack": {"source": "a.{x:q|k|v}.weight", "target": "a.qkv"}},
        {"reshape": {"match": "a.qkv", "shape": [18, 4]}},
        {"add_prefix": "net."},
    ],
}


@pytest.mark.parametrize("surgery", SURGERIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_after_the_surgery_is_the_surgery_of_the_step(tmp_path, optimizer, surgery):
    make, rules = OPTIMIZERS[optimizer], SURGERIES[surgery]
    table, state = saved(tmp_path / "a.pt", make)
    wanted = surgeon.remap(stepped(table, make, [numbers(3)], state)[0], rules)
    found = remapped(tmp_path / "a.pt", rules)
    after, _ = stepped(found["model"], make, [surgeon.remap(numbers(3), rules)], found["optimizer"])
    assert same(after, wanted)
    assert found["epoch"] == 3


def test_a_step_differs_where_the_state_is_reset(tmp_path):
    """That the test above can fail."""
    make = OPTIMIZERS["adam"]
    table, state = saved(tmp_path / "a.pt", make)
    wanted, _ = stepped(table, make, [numbers(3)], state)
    found = remapped(tmp_path / "a.pt", [], optimizer="reset")
    assert not same(stepped(found["model"], make, [numbers(3)], found["optimizer"])[0], wanted)


def test_a_swap_of_names_needs_a_target_which_tells_the_order(tmp_path):
    make = OPTIMIZERS["adam"]
    table, state = saved(tmp_path / "a.pt", make)
    alone = surgeon.plan(tmp_path / "a.pt", SWAP)
    assert "norm.bias named another parameter, and only a target could tell the order" in alone.optimizer.why
    found = remapped(tmp_path / "a.pt", SWAP, table)
    after = stepped(found["model"], make, [surgeon.remap(numbers(3), SWAP)], found["optimizer"])[0]
    wanted = surgeon.remap(stepped(table, make, [numbers(3)], state)[0], SWAP)
    assert all(torch.equal(after[key], wanted[key]) for key in table)


def test_torch_swaps_the_moments_of_reordered_parameters_and_a_surgery_does_not(tmp_path):
    make = OPTIMIZERS["adam"]
    table, state = saved(tmp_path / "a.pt", make)
    target = {key: table[key] for key in [*list(table)[:5], "norm.bias", "norm.weight", "head.weight"]}
    wanted = stepped(table, make, [numbers(3)], state)[0]
    found = remapped(tmp_path / "a.pt", [], target)
    after = stepped(found["model"], make, [numbers(3)], found["optimizer"])[0]
    assert all(torch.equal(after[key], wanted[key]) for key in wanted)
    silently = stepped(target, make, [numbers(3)], state)[0]
    assert not torch.equal(silently["norm.bias"], wanted["norm.bias"])


def test_names_in_the_groups_follow(tmp_path):
    saved(tmp_path / "a.pt", by_name)
    found = remapped(tmp_path / "a.pt", [{"add_prefix": "net."}])
    assert found["optimizer"]["param_groups"][0]["param_names"] == [f"net.{key}" for key in SHAPES]
    assert found["optimizer"]["param_groups"][0]["params"] == list(range(len(SHAPES)))


def decayed(named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
    """Two groups which take turns in the table, as for weight decay."""
    thin = [parameter for _, parameter in named if parameter.ndim < 2]
    thick = [parameter for _, parameter in named if parameter.ndim >= 2]
    return torch.optim.AdamW([{"params": thick, "weight_decay": 0.5}, {"params": thin, "weight_decay": 0.0, "lr": 0.01}], foreach=False)


@pytest.mark.parametrize("surgery", ["rename", "concat", "split", "stack", "transpose"])
def test_groups_which_take_turns_in_the_table_keep_their_parameters_and_options(tmp_path, surgery):
    rules = SURGERIES[surgery]
    table, state = saved(tmp_path / "a.pt", decayed)
    wanted = surgeon.remap(stepped(table, decayed, [numbers(3)], state)[0], rules)
    found = remapped(tmp_path / "a.pt", rules)
    after, _ = stepped(found["model"], decayed, [surgeon.remap(numbers(3), rules)], found["optimizer"])
    assert same(after, wanted)
    assert [group["weight_decay"] for group in found["optimizer"]["param_groups"]] == [0.5, 0.0]


def halves(named: list[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
    """Two groups which could be told in two ways by their shapes: the norm's weight and bias in one each."""
    parameters = dict(named)
    last = [parameters["norm.bias"], parameters["head.weight"]]
    rest = [parameter for key, parameter in named if key not in ("norm.bias", "head.weight")]
    return torch.optim.Adam([{"params": rest[:-1]}, {"params": [rest[-1]]}, {"params": last}], foreach=False)


def test_state_goes_with_the_reason_where_nobody_can_tell_whose_it_is(tmp_path):
    saved(tmp_path / "a.pt", halves)
    plan = surgeon.plan(tmp_path / "a.pt", [{"drop": "head.weight"}])
    assert plan.optimizer.fate == "dropped"
    assert "head.weight is gone, and it cannot follow" in plan.optimizer.why
    assert "norm.weight" in plan.optimizer.why
    surgeon.write(plan, tmp_path / "b.pt")
    assert "optimizer" not in torch.load(tmp_path / "b.pt", weights_only=True)


def test_a_frozen_parameter_has_no_state_and_gets_none(tmp_path):
    make = OPTIMIZERS["adam"]
    table, state = saved(tmp_path / "a.pt", make, frozen="norm.weight")
    assert 5 not in state["state"]
    rules = [{"rename": {"norm.weight": "a.norm.weight"}}, {"transpose": {"match": "head.weight"}}]
    plan = surgeon.plan(tmp_path / "a.pt", rules)
    assert (plan.optimizer.reset, plan.optimizer.fate) == ({}, "followed")
    found = remapped(tmp_path / "a.pt", rules)
    frozen = list(found["model"]).index("a.norm.weight")
    assert frozen not in found["optimizer"]["state"]
    assert found["optimizer"]["param_groups"][0]["params"] == list(range(len(SHAPES)))
    grads = {key: value for key, value in numbers(3).items() if key != "norm.weight"}
    after, _ = stepped(found["model"], make, [surgeon.remap(grads, rules[1:])], found["optimizer"])
    assert same(after, surgeon.remap(stepped(table, make, [grads], state)[0], rules))


def test_parts_of_which_one_has_no_state_begin_anew(tmp_path):
    saved(tmp_path / "a.pt", OPTIMIZERS["adam"], frozen="a.k.weight")
    plan = surgeon.plan(tmp_path / "a.pt", SURGERIES["concat"])
    assert plan.optimizer.reset == {"a.qkv.weight": "a.k.weight, which is a part of it, has no state"}


def test_parts_which_took_other_numbers_of_steps_begin_anew(tmp_path):
    make = OPTIMIZERS["adam"]
    table, state = saved(tmp_path / "a.pt", make)
    state["state"][1]["step"] += 1
    torch.save({"model": table, "optimizer": state}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt", SURGERIES["concat"])
    assert plan.optimizer.reset == {"a.qkv.weight": "step of a.q.weight and a.k.weight and a.v.weight differs"}
    found = remapped(tmp_path / "a.pt", SURGERIES["concat"])
    assert list(found["model"]).index("a.qkv.weight") not in found["optimizer"]["state"]


def test_what_computes_values_begins_anew_and_a_cast_does_not(tmp_path):
    saved(tmp_path / "a.pt", OPTIMIZERS["adam"])
    rules = [
        {"adapt_in_channels": {"match": "conv.weight", "mode": "mean", "in_channels": 7}},
        {"cast": {"match": "head.weight", "dtype": "bfloat16"}},
    ]
    plan = surgeon.plan(tmp_path / "a.pt", {"version": 1, "rules": rules, "allow": {"casts": ["head.weight"]}})
    assert plan.optimizer.reset == {"conv.weight": "adapt_in_channels computes its values anew"}
    assert "head.weight" in plan.optimizer.followed


def test_a_copy_begins_anew(tmp_path):
    saved(tmp_path / "a.pt", OPTIMIZERS["adam"])
    plan = surgeon.plan(tmp_path / "a.pt", [{"copy": {"norm.weight": "norm2.weight"}}])
    assert plan.optimizer.reset == {"norm2.weight": "a copy of norm.weight, which takes the state along"}


def test_parts_of_one_parameter_share_no_memory(tmp_path):
    """torch counts steps in place: a shared counter would count twice."""
    saved(tmp_path / "a.pt", OPTIMIZERS["adam"])
    found = remapped(tmp_path / "a.pt", SURGERIES["split"])
    held = [value for entry in found["optimizer"]["state"].values() for value in entry.values()]
    assert len({value.untyped_storage().data_ptr() for value in held}) == len(held) == 3 * len(found["model"])


def test_dropped_parameters_leave_groups_which_stay(tmp_path):
    saved(tmp_path / "a.pt", decayed)
    found = remapped(tmp_path / "a.pt", [{"drop": ["norm.*", "a.qkv.bias"]}])
    assert [group["params"] for group in found["optimizer"]["param_groups"]] == [[0, 1, 2, 3, 4], []]
    assert sorted(found["optimizer"]["state"]) == [0, 1, 2, 3, 4]


def test_parameters_which_only_the_target_has_are_counted_and_begin_anew(tmp_path):
    make = OPTIMIZERS["adam"]
    table, _ = saved(tmp_path / "a.pt", make)
    target = {"first.weight": torch.zeros(3), **{key: value for key, value in table.items() if key != "norm.bias"}}
    demands = {"allow_missing": ["first.weight"], "allow_unexpected": ["norm.bias"]}
    plan = surgeon.plan(tmp_path / "a.pt", [], target, **demands)
    assert plan.optimizer.new == ("first.weight",)
    assert plan.optimizer.dropped == {"norm.bias": "the target has no such key"}
    found = remapped(tmp_path / "a.pt", [], target, **demands)
    stepped({**target, **found["model"]}, make, [{}], found["optimizer"])  # torch counts the parameters of each group
    assert sorted(found["optimizer"]["state"]) == list(range(1, 8))


@pytest.mark.parametrize("make", [OPTIMIZERS["adam"], by_name, decayed, halves])
def test_state_can_be_reset_and_dropped_as_asked(tmp_path, make):
    _, state = saved(tmp_path / "a.pt", make)
    found = remapped(tmp_path / "a.pt", [], optimizer="reset")
    assert found["optimizer"] == {"state": {}, "param_groups": state["param_groups"]}
    (tmp_path / "out.pt").unlink()
    assert "optimizer" not in remapped(tmp_path / "a.pt", [], optimizer="drop")


def test_a_fate_which_is_unknown_is_refused(tmp_path):
    saved(tmp_path / "a.pt", by_name)
    with pytest.raises(surgeon.RulesError, match="'keep' is nothing that can become of an optimizer's state"):
        surgeon.plan(tmp_path / "a.pt", optimizer="keep")


def test_several_optimizers_in_a_list_follow(tmp_path):
    """As Lightning keeps them."""
    table, state = saved(tmp_path / "a.pt", by_name)
    torch.save({"state_dict": table, "optimizer_states": [state]}, tmp_path / "a.pt")
    found = remapped(tmp_path / "a.pt", SURGERIES["several at once"])
    names = found["optimizer_states"][0]["param_groups"][0]["param_names"]
    assert names == list(found["state_dict"])


def test_state_which_is_kept_by_name_follows(tmp_path):
    """As torch.distributed.checkpoint.state_dict gives it."""
    table, state = saved(tmp_path / "a.pt", by_name)
    keys = list(table)
    groups = [{**group, "params": [keys[i] for i in group["params"]]} for group in state["param_groups"]]
    torch.save(
        {"model": table, "optimizer": {"state": {keys[i]: v for i, v in state["state"].items()}, "param_groups": groups}}, tmp_path / "a.pt"
    )
    found = remapped(tmp_path / "a.pt", SURGERIES["rename"])
    assert list(found["optimizer"]["state"]) == found["optimizer"]["param_groups"][0]["params"] == list(found["model"])


def test_a_pickled_optimizer_cannot_follow(tmp_path):
    table = {key: torch.nn.Parameter(value) for key, value in numbers(0).items()}
    torch.save({"model": numbers(0), "optimizer": torch.optim.Adam(list(table.values()))}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt", [{"drop": "head.weight"}])
    assert "it cannot follow: optimizer is not what an optimizer's state_dict() gives" in plan.optimizer.why


def test_where_order_and_names_stay_the_file_does_not_change(tmp_path):
    saved(tmp_path / "a.pt", by_name)
    plan = surgeon.plan(tmp_path / "a.pt", [{"rename": {"norm.bias": "norm.bias"}}])
    assert plan.optimizer.fate == "kept"
    surgeon.write(surgeon.plan(tmp_path / "a.pt"), tmp_path / "b.pt")
    records = [
        {name.partition("/")[2]: file.read(name) for name in file.namelist()}
        for file in map(ZipFile, (tmp_path / "a.pt", tmp_path / "b.pt"))
    ]
    assert all(records[1][name] == data for name, data in records[0].items() if name == "data.pkl" or name.startswith("data/"))


def test_safetensors_hold_no_state_which_follows(tmp_path):
    saved(tmp_path / "a.pt", by_name)
    with pytest.raises(surgeon.CoverageError, match="optimizer"):
        surgeon.write(surgeon.plan(tmp_path / "a.pt", SURGERIES["rename"]), tmp_path / "b.safetensors")
    surgeon.write(surgeon.plan(tmp_path / "a.pt", SURGERIES["rename"], optimizer="drop"), tmp_path / "b.safetensors")
