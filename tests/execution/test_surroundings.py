"""What stands around the weights: optimizer state, other tables, scalars, entries which are no tensors; end to end, on files."""

import os
from collections import OrderedDict
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, DiskError, RulesError, SurgeryError
from ckpt_surgeon.sources import open_source

# torch says so whenever it makes or loads one.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


def stepped(model: nn.Module, make: Any) -> torch.optim.Optimizer:
    torch.manual_seed(0)
    optimizer = make(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return optimizer


def trained(kind: str) -> dict[str, Any]:
    model = Net()
    if kind == "sgd":
        held: Any = stepped(model, lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)).state_dict()
    elif kind == "adam":
        held = stepped(model, lambda parameters: torch.optim.Adam(parameters, lr=0.1)).state_dict()
    else:
        held = [stepped(model, lambda parameters: torch.optim.AdamW(parameters, lr=0.1)).state_dict() for _ in range(2)]
    whole = kind == "module"
    return {"epoch": 3, "state_dict": model if whole else model.state_dict(), "optimizer": held, "note": "kept"}


KINDS = ["sgd", "adam", "list"]
CASES: list[tuple[str, list[dict[str, Any]], str]] = [
    ("no rule", [], "kept"),
    ("new names", [{"add_prefix": "module."}], "kept"),
    ("new names for some", [{"rename": {"fc.weight": "head.weight", "fc.bias": "head.bias"}}], "kept"),
    ("a buffer dropped", [{"drop": "bn.running_mean"}], "kept"),
    ("a parameter dropped", [{"drop": "fc.bias"}], "followed"),
    ("a parameter reshaped", [{"reshape": {"match": "fc.weight", "shape": [8]}}], "followed"),
    ("channels adapted", [{"adapt_in_channels": {"match": "conv.weight", "mode": "mean", "in_channels": 10}}], "followed"),
    ("a parameter more", [{"copy": {"fc.weight": "fc2.weight"}}], "followed"),
    ("two joined", [{"concat": {"source": ["fc.bias", "bn.weight"], "target": "x"}}], "followed"),
    ("two names swapped", [{"rename": {"bn.weight": "bn.bias", "bn.bias": "bn.weight"}}], "dropped"),
]


def same(first: Any, second: Any) -> bool:
    """Whether two values of an envelope are the same, tensors by value."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return isinstance(second, dict) and list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rules", "fate"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_optimizer_state_is_kept_whole_or_follows_or_is_dropped_whole_and_named(tmp_path, kind, rules, fate):
    checkpoint = trained(kind)
    torch.save(checkpoint, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt", rules)
    surgeon.write(plan, tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=True)
    assert (after["epoch"], after["note"]) == (3, "kept")
    assert plan.optimizer.fate == fate
    assert any("optimizer" in note and "dropped" in note for note in plan.notes) is (fate == "dropped")
    if fate == "kept":
        assert same(after["optimizer"], checkpoint["optimizer"])
    elif fate == "followed":
        states = after["optimizer"] if kind == "list" else [after["optimizer"]]
        parameters = [torch.nn.Parameter(value) for key, value in after["state_dict"].items() if "running" not in key and "num" not in key]
        for state in states:
            torch.optim.SGD(parameters).load_state_dict(state)  # torch counts the parameters
    else:
        assert not after.get("optimizer")


def test_kept_state_steps_a_renamed_model_as_it_would_have_stepped_the_old_one(tmp_path):
    checkpoint = trained("adam")
    torch.save(checkpoint, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(tmp_path / "a.pt", [{"add_prefix": "module."}]), tmp_path / "b.pt")
    states = []
    for name, wrap in (("a.pt", lambda model: model), ("b.pt", lambda model: nn.Sequential(OrderedDict(module=model)))):
        model = wrap(Net())
        loaded = torch.load(tmp_path / name, weights_only=True)
        model.load_state_dict(loaded["state_dict"])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        optimizer.load_state_dict(loaded["optimizer"])
        torch.manual_seed(1)
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        optimizer.step()
        states.append(list(model.state_dict().values()))
    assert all(map(torch.equal, *states))


def test_a_whole_module_becomes_its_state_dict_with_its_optimizer_beside_it(tmp_path):
    model = Net()
    optimizer = stepped(model, lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
    torch.save({"model": model, "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(tmp_path / "a.pt", [{"add_prefix": "m."}]), tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=True)
    assert list(after["model"]) == [f"m.{key}" for key in model.state_dict()]
    assert same(after["optimizer"], optimizer.state_dict())
    surgeon.write(surgeon.plan(tmp_path / "a.pt", [{"drop": "fc.weight"}]), tmp_path / "c.pt")
    followed = torch.load(tmp_path / "c.pt", weights_only=True)["optimizer"]
    assert followed["param_groups"][0]["params"] == list(range(5))
    assert same(followed["state"][4], optimizer.state_dict()["state"][5])


def test_a_swap_of_two_equal_shapes_does_not_keep_stale_state(tmp_path):
    torch.save(trained("sgd"), tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt", [{"rename": {"bn.weight": "bn.bias", "bn.bias": "bn.weight"}}])
    assert not plan.keeps_optimizer
    surgeon.write(plan, tmp_path / "b.pt")
    assert "optimizer" not in torch.load(tmp_path / "b.pt", weights_only=True)


def envelope() -> dict[str, Any]:
    torch.manual_seed(2)
    weights = {"w": torch.randn(2, 3), "b": torch.randn(2)}
    return {"model": weights, "ema": {key: value * 2 for key, value in weights.items()}, "epoch": 7, "best": 0.5, "arch": "net"}


@pytest.mark.parametrize(("table", "other"), [("model", "ema"), ("ema", "model")])
def test_the_other_table_is_untouched(tmp_path, table, other):
    before = envelope()
    torch.save(before, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(f"{tmp_path / 'a.pt'}#{table}", [{"add_prefix": "m."}, {"transpose": {"match": "m.w"}}]), tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=True)
    assert list(after) == list(before)
    assert same(after[other], before[other])
    assert same(after[table], {"m.w": before[table]["w"].t(), "m.b": before[table]["b"]})
    assert (after["epoch"], after["best"], after["arch"]) == (7, 0.5, "net")


def test_a_table_which_shares_its_tensors_keeps_its_own(tmp_path):
    before = envelope()
    before["ema"] = dict(before["model"])
    torch.save(before, tmp_path / "a.pt")
    surgeon.write(
        surgeon.plan(f"{tmp_path / 'a.pt'}#model", [{"cast": {"match": "w", "dtype": "float64"}}, {"drop": "b"}]), tmp_path / "b.pt"
    )
    after = torch.load(tmp_path / "b.pt", weights_only=True)
    assert same(after["ema"], before["ema"])
    assert list(after["model"]) == ["w"]
    assert after["model"]["w"].dtype is torch.float64


def test_several_tables_and_no_choice_is_an_error_which_lists_them(tmp_path):
    torch.save(envelope(), tmp_path / "a.pt")
    with pytest.raises(RulesError, match="model") as caught:
        surgeon.plan(tmp_path / "a.pt")
    assert "ema" in str(caught.value)


def test_safetensors_refuses_to_leave_the_other_table_behind_without_bare(tmp_path):
    torch.save(envelope(), tmp_path / "a.pt")
    plan = surgeon.plan(f"{tmp_path / 'a.pt'}#ema")
    with pytest.raises(CoverageError, match="model"):
        surgeon.write(plan, tmp_path / "b.safetensors")
    assert os.listdir(tmp_path) == ["a.pt"]
    surgeon.write(plan, tmp_path / "b.safetensors", bare=True)
    with safe_open(tmp_path / "b.safetensors", "pt") as opened:
        assert torch.equal(opened.get_tensor("w"), envelope()["ema"]["w"])
        assert "epoch" not in opened.metadata()


def test_bare_leaves_a_pt_with_the_table_alone(tmp_path):
    torch.save(envelope(), tmp_path / "a.pt")
    surgeon.write(surgeon.plan(f"{tmp_path / 'a.pt'}#ema"), tmp_path / "b.pt", bare=True)
    assert same(dict(torch.load(tmp_path / "b.pt", weights_only=True)), envelope()["ema"])


SCALARS = [("epoch", 12, "12"), ("lr", 0.5, "0.5"), ("arch", "resnet", '"resnet"'), ("done", True, "true"), ("best", None, "null")]


@pytest.mark.parametrize(("name", "value", "text"), SCALARS)
def test_a_scalar_of_the_envelope_becomes_text_metadata(tmp_path, name, value, text):
    torch.save({name: value, "state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(tmp_path / "a.pt"), tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", name: text}


@pytest.mark.parametrize("name", ["format", "ckpt_surgeon.ties", "ckpt_surgeon.order", "ckpt_surgeon.torch_metadata", "ckpt_surgeon.rules"])
def test_a_scalar_whose_name_means_something_in_the_metadata_is_not_put_there(tmp_path, name):
    torch.save({name: "v1", "epoch": 1, "state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt")
    with pytest.raises(CoverageError, match=name):
        surgeon.write(plan, tmp_path / "b.safetensors")
    surgeon.write(plan, tmp_path / "b.safetensors", bare=True)
    with safe_open(tmp_path / "b.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    surgeon.write(plan, tmp_path / "b.pt")
    assert torch.load(tmp_path / "b.pt", weights_only=True)[name] == "v1"


def opaque() -> dict[str, Any]:
    sparse = torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (3,))
    return {"m.w": torch.ones(2), "m.sparse": sparse, "m._extra_state": {"steps": 3, "names": ["a", "b"]}, "m.b": torch.zeros(1)}


MOVED = [
    ("untouched", [], {"m.sparse": "m.sparse", "m._extra_state": "m._extra_state"}),
    ("renamed", [{"strip_prefix": "m."}], {"sparse": "m.sparse", "_extra_state": "m._extra_state"}),
    ("copied", [{"copy": {"m._extra_state": "n._extra_state"}}],
     {"m.sparse": "m.sparse", "m._extra_state": "m._extra_state", "n._extra_state": "m._extra_state"}),
    ("one dropped", [{"drop": "m.sparse"}], {"m._extra_state": "m._extra_state"}),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "wanted"), [case[1:] for case in MOVED], ids=[case[0] for case in MOVED])
def test_what_is_no_plain_tensor_is_carried_as_it_is(tmp_path, rules, wanted):
    torch.save(opaque(), tmp_path / "a.pt")
    surgeon.write(surgeon.plan(tmp_path / "a.pt", rules), tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=True)
    kept = {key: value for key, value in after.items() if not isinstance(value, torch.Tensor) or value.is_sparse}
    assert set(kept) == set(wanted)
    for key, before in wanted.items():
        value, old = kept[key], opaque()[before]
        assert torch.equal(value.to_dense(), old.to_dense()) if isinstance(old, torch.Tensor) else value == old


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_tensor_is_renamed_whole(tmp_path):
    quantized = torch.quantize_per_tensor(torch.tensor([1.0, 2.0]), 0.5, 0, torch.qint8)
    torch.save({"q": quantized, "w": torch.ones(1)}, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(tmp_path / "a.pt", [{"rename": {"q": "x"}}]), tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=False)["x"]
    assert torch.equal(after.int_repr(), quantized.int_repr())
    assert (after.q_scale(), after.q_zero_point()) == (0.5, 0)


@pytest.mark.parametrize("out", ["b.safetensors", "folder"])
def test_safetensors_refuses_what_is_no_plain_tensor_by_name_and_makes_nothing(tmp_path, out):
    torch.save(opaque(), tmp_path / "a.pt")
    with pytest.raises(SurgeryError) as caught:
        surgeon.write(surgeon.plan(tmp_path / "a.pt"), tmp_path / out)
    assert [problem.where for problem in caught.value.problems] == ["m.sparse", "m._extra_state"]
    assert os.listdir(tmp_path) == ["a.pt"]


TENSOR_RULES = [
    {"reshape": {"match": "m._extra_state", "shape": [1]}},
    {"cast": {"match": "m.sparse", "dtype": "float64"}},
    {"concat": {"source": ["m.w", "m.sparse"], "target": "x"}},
    {"split": {"source": "m.sparse", "target": ["x", "y"], "sizes": [1, 2]}},
]


@pytest.mark.parametrize("rule", TENSOR_RULES)
def test_no_op_computes_with_what_is_no_plain_tensor(tmp_path, rule):
    torch.save(opaque(), tmp_path / "a.pt")
    with pytest.raises(RulesError, match="no plain tensor"):
        surgeon.plan(tmp_path / "a.pt", [rule])


CHANGES = {
    "another key": {"w": torch.ones(2, 3), "x": torch.ones(2)},
    "another shape": {"w": torch.ones(3, 2), "b": torch.ones(2)},
    "another type": {"w": torch.ones(2, 3).half(), "b": torch.ones(2)},
    "another order": {"b": torch.ones(2), "w": torch.ones(2, 3)},
    "one key more": {"w": torch.ones(2, 3), "b": torch.ones(2), "c": torch.ones(2)},
    "an envelope": {"state_dict": {"w": torch.ones(2, 3), "b": torch.ones(2)}, "epoch": 1},
}


@pytest.mark.parametrize("content", CHANGES.values(), ids=CHANGES)
def test_a_source_which_is_another_than_planned_is_refused_and_nothing_is_written(tmp_path, content):
    torch.save({"w": torch.ones(2, 3), "b": torch.ones(2)}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt", [{"rename": {"b": "c"}}])
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DiskError, match="changed since the plan"):
        surgeon.write(plan, tmp_path / "b.pt")
    assert os.listdir(tmp_path) == ["a.pt"]


def test_ties_which_came_or_went_since_the_plan_are_a_change(tmp_path):
    weight = torch.ones(2)
    tied, untied = {"a": weight, "b": weight}, {"a": weight, "b": weight * 2}
    for before, after in ((tied, untied), (untied, tied)):
        torch.save(before, tmp_path / "a.pt")
        plan = surgeon.plan(tmp_path / "a.pt")
        torch.save(after, tmp_path / "a.pt")
        with pytest.raises(DiskError, match="changed since the plan"):
            surgeon.write(plan, tmp_path / "b.pt")


def test_ties_of_a_table_in_memory_which_went_since_the_plan_are_a_change(tmp_path):
    weight = torch.ones(2)
    table = {"a": weight, "b": weight}
    plan = surgeon.plan(table)
    table["b"] = weight * 2
    with pytest.raises(DiskError, match="changed since the plan"):
        surgeon.write(plan, tmp_path / "b.pt")
    assert os.listdir(tmp_path) == []


def test_a_source_which_went_since_the_plan_is_named(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt")
    os.remove(tmp_path / "a.pt")
    with pytest.raises(DiskError, match=r"a\.pt"):
        surgeon.write(plan, tmp_path / "b.pt")
    assert os.listdir(tmp_path) == []


def test_new_values_under_the_same_header_are_the_ones_which_are_written(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    plan = surgeon.plan(tmp_path / "a.pt")
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt")
    surgeon.write(plan, tmp_path / "b.pt")
    assert torch.load(tmp_path / "b.pt", weights_only=True)["w"].tolist() == [0, 0]


@pytest.mark.parametrize("out", ["b.pt", "b.safetensors", "folder"])
def test_progress_grows_to_the_whole_and_counts_tied_tensors_once(tmp_path, out):
    weight = torch.ones(100)
    seen: list[tuple[int, int | None]] = []
    plan = surgeon.plan({"a": weight, "b": weight, "c": torch.ones(7), "e": torch.zeros(0)}, [{"cast": {"match": "c", "dtype": "float64"}}])
    surgeon.write(plan, tmp_path / out, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {456}
    assert seen[-1] == (456, 456)


def test_a_progress_which_raises_leaves_nothing(tmp_path):
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surgeon.write(surgeon.plan({"a": torch.ones(3)}), tmp_path / "b.pt", progress=stop)
    assert os.listdir(tmp_path) == []


def test_a_file_which_is_written_over_while_it_is_read_is_an_error(tmp_path):
    torch.save({"a": torch.ones(50_000), "b": torch.ones(50_000)}, tmp_path / "a.pt")

    def cut(done: int, total: int | None) -> None:
        os.truncate(tmp_path / "a.pt", 1000)

    with pytest.raises(SurgeryError):
        surgeon.write(surgeon.plan(tmp_path / "a.pt"), tmp_path / "b.pt", progress=cut)
    assert os.listdir(tmp_path) == ["a.pt"]


def test_an_opaque_entry_in_memory_is_refused_for_a_file_and_kept_by_remap(tmp_path):
    table = {"w": torch.ones(2), "_extra_state": {"steps": 3}}
    assert surgeon.remap(table, [{"add_prefix": "m."}])["m._extra_state"] == {"steps": 3}
    with pytest.raises(SurgeryError, match="_extra_state"):
        surgeon.write(surgeon.plan(table), tmp_path / "b.pt")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", ["b.pt", "b.safetensors", "folder"])
def test_an_output_reads_back_in_the_plans_order(tmp_path, form):
    source = {key: torch.ones(1) for key in ("z", "a", "m.1", "m.0")}
    surgeon.write(surgeon.plan(source), tmp_path / form)
    with open_source(tmp_path / form) as reader:
        assert list(reader.header) == list(source)
