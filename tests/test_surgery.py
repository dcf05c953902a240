"""The public library: every name, and what each one-liner takes and gives."""

import copy
import dataclasses
import importlib
import pickle
import pkgutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, RulesError
from ckpt_surgeon.rules.rule import Rules

CONTRACT = [
    *("inspect", "diff", "plan", "remap", "write", "load", "pre_hook", "verify", "explain", "finetune"),
    *("rules_from_key_mapping", "rules_from_revise_keys"),
    *("SurgeryError", "CorruptError", "UnsafeError", "LimitError", "RulesError", "ModelError"),
    *("DiskError", "LockedError", "CoverageError", "NothingLoadedError"),
]


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contracts_names_are_public(name):
    assert name in surgeon.__all__
    assert name in dir(surgeon)
    assert getattr(surgeon, name) is not None


def test_every_public_name_is_still_callable_after_every_submodule_was_imported():
    code = (
        "import importlib, pkgutil, ckpt_surgeon as s\n"
        "for module in pkgutil.walk_packages(s.__path__, 'ckpt_surgeon.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print([name for name in s.__all__ if name != 'finetune' and not callable(getattr(s, name))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_no_room_hides_a_public_name():
    rooms = {module.name for module in pkgutil.iter_modules(surgeon.__path__)}
    assert rooms & set(surgeon.__all__) == {"finetune"}
    assert callable(importlib.import_module("ckpt_surgeon.finetune").freeze)


def test_a_name_which_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'surgery_'"):
        surgeon.surgery_  # noqa: B018


def test_importing_the_library_costs_nothing():
    code = "import sys, ckpt_surgeon; print({'torch', 'numpy', 'yaml', 'click', 'regex'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


TABLE = {"m.w": torch.ones(2, 3), "m.b": torch.zeros(2)}
RULES = [{"strip_prefix": "m."}]
YAML = "version: 1\nrules:\n  - strip_prefix: m.\n"


def rules_in_every_form(folder):
    (folder / "rules.yaml").write_text(YAML)
    read = surgeon.rules_from_key_mapping({"^m\\.": ""})
    return [RULES, {"version": 1, "rules": RULES}, folder / "rules.yaml", str(folder / "rules.yaml"), read]


def test_rules_are_taken_in_every_form(tmp_path):
    for rules in rules_in_every_form(tmp_path):
        assert list(surgeon.plan(TABLE, rules).header) == ["w", "b"]
        assert list(surgeon.remap(TABLE, rules)) == ["w", "b"]
        assert surgeon.diff(TABLE, {"w": torch.ones(2, 3), "b": torch.zeros(2)}, rules).same


def test_the_same_rules_have_the_same_digest_in_every_form(tmp_path):
    *forms, _ = rules_in_every_form(tmp_path)
    assert len({surgeon.plan(TABLE, rules).digest for rules in forms}) == 1


@pytest.mark.parametrize("rules", [None, [], Rules(), {"version": 1, "rules": []}])
def test_no_rules_are_a_conversion(rules):
    plan = surgeon.plan(TABLE, rules)
    assert plan.outcome.exact == ("m.w", "m.b")
    assert plan.header.metadata == {}


def test_variables_reach_the_rules():
    rules = [{**RULES[0], "if": "strip"}]
    assert list(surgeon.plan(TABLE, rules, variables={"strip": True}).header) == ["w", "b"]
    assert list(surgeon.plan(TABLE, rules, None, {"strip": False}).header) == ["m.w", "m.b"]
    assert surgeon.diff(TABLE, {"w": torch.ones(2, 3), "b": torch.zeros(2)}, rules, {"strip": True}).same
    with pytest.raises(RulesError, match="strip"):
        surgeon.plan(TABLE, rules)


TARGET = {"w": torch.ones(2, 3), "b": torch.zeros(2), "new": torch.zeros(4)}


def test_a_call_may_allow_what_the_rules_do_not():
    assert surgeon.diff(TABLE, TARGET, RULES, allow_missing=["new"]).same
    assert not surgeon.diff(TABLE, TARGET, RULES).same
    assert surgeon.plan(TABLE, RULES, TARGET, allow_missing=["new"]).outcome.missing_keys == ("new",)
    with pytest.raises(CoverageError, match="new"):
        surgeon.plan(TABLE, RULES, TARGET)
    with pytest.raises(RulesError):
        surgeon.plan(TABLE, RULES, TARGET, allow_missing=["{new"])


def test_diff_without_rules_counts_what_is_there_in_both():
    diff = surgeon.diff({**TABLE, "w": torch.ones(2, 3)}, TARGET)
    assert (list(diff.missing), list(diff.unexpected), diff.matched) == (["b", "new"], ["m.w", "m.b"], ("w",))
    assert (diff.coverage, diff.coverage_keys) == (6 / 12, 1 / 3)


def test_a_plan_is_made_without_touching_what_it_is_made_from():
    before = {key: value.clone() for key, value in TABLE.items()}
    rules = [{"transpose": {"match": "m.w"}}, {"drop": "m.b"}]
    surgeon.plan(TABLE, rules)
    surgeon.remap(TABLE, rules)["m.w"].zero_()
    assert list(TABLE) == list(before)
    assert all(torch.equal(TABLE[key], before[key]) for key in before)
    assert rules == [{"transpose": {"match": "m.w"}}, {"drop": "m.b"}]


def test_write_gives_the_outcome_of_the_plan(tmp_path):
    plan = surgeon.plan(TABLE, RULES)
    assert surgeon.write(plan, tmp_path / "a.pt") == plan.outcome
    assert surgeon.inspect(tmp_path / "a.pt").entries == plan.header.entries


def test_arguments_reach_the_factory_of_source_and_target(tmp_path, monkeypatch):
    (tmp_path / "net_for_surgery.py").write_text("import torch\ndef build(n=2):\n    return torch.nn.Linear(3, n)\n")
    monkeypatch.chdir(tmp_path)
    assert surgeon.inspect("net_for_surgery:build", arguments={"n": 5}).tensors["weight"].shape == (5, 3)
    table = {"weight": torch.ones(5, 3), "bias": torch.ones(5)}
    assert surgeon.diff(table, "net_for_surgery:build", arguments={"n": 5}).same
    assert not surgeon.diff(table, "net_for_surgery:build").same
    rules = [{"init": {"match": "bias", "value": "model"}}]
    plan = surgeon.plan({"weight": torch.ones(5, 3)}, rules, "net_for_surgery:build", arguments={"n": 5})
    surgeon.write(plan, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["bias"].shape == (5,)


def test_a_copy_is_independent_of_what_it_was_copied_from():
    rules = [{"cast": {"match": "m.w", "dtype": "float64"}}, {"copy": {"m.w": "x"}}, {"copy": {"x": "y"}}]
    found = surgeon.remap(TABLE, rules)
    found["x"].zero_()
    assert found["m.w"].sum() == found["y"].sum() == 6


def test_a_copy_of_a_part_is_independent_whatever_stands_between():
    rules = [{"split": {"source": "m.w", "target": ["p", "q"]}}, {"copy": {"p": "r"}}]
    order = {key: torch.ones(1, 3) for key in ("p", "q", "r")} | {"m.b": torch.zeros(2)}
    found = surgeon.remap(TABLE, rules, order)
    assert list(found) == ["p", "q", "r", "m.b"]
    found["r"].zero_()
    assert found["p"].sum() == found["q"].sum() == 3


def test_a_tie_is_one_object():
    found = surgeon.remap(TABLE, [{"tie": {"m.w": "x"}}])
    assert found["x"] is found["m.w"]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_what_is_given_back_can_be_pickled_copied_and_taken_apart(tmp_path, suffix):
    path = str(tmp_path / f"x.{suffix}")
    if suffix == "pt":
        torch.save({"state_dict": TABLE, "epoch": 3}, path)
    else:
        save_file(TABLE, path)
    for value in (surgeon.inspect(path), surgeon.diff(path, path), surgeon.plan(path, rules=RULES), surgeon.digest(path)):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
        assert list(dataclasses.asdict(value)) == [field.name for field in dataclasses.fields(value)]
