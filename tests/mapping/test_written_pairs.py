"""Real pairs whose mapping is known: the rules which are written of it are few, and make exactly that mapping."""

import re
from functools import cache
from statistics import median

import pytest
import torch
from mappings import NAMES, mapping_of, pair_of
from truths import evaluate

from ckpt_surgeon.mapping.writing import Suggestion, written
from ckpt_surgeon.ops.renaming import CopyKeys, Rename
from ckpt_surgeon.ops.replacing import Replace
from ckpt_surgeon.planning import Plan, Recipe, Source, make_plan, sources_of
from ckpt_surgeon.rules.reader import parse_rules

_MOST = 80  # pairs of names and ops in any rules file; an expert's hold up to 30
_MEDIAN = 25


@cache
def _suggested(name: str, *, by_name: bool = False) -> Suggestion:
    pair = pair_of(name, by_name=by_name)
    return written(mapping_of(pair), pair.source, pair.target, 0.9)


@cache
def _plan(name: str, *, by_name: bool = False) -> Plan:
    """Made of the text alone, as `remap` would make it."""
    pair = pair_of(name, by_name=by_name)
    return make_plan(parse_rules(_suggested(name, by_name=by_name).text, "rules.yaml"), pair.source, pair.target)


def _recipes(plan: Plan) -> dict[str, Recipe]:
    return {key: plan.recipes[plan.ties.get(key, key)] for key in (*plan.recipes, *plan.ties)}


@pytest.mark.parametrize("by_name", [False, True], ids=["in_order", "sorted"])
@pytest.mark.parametrize("name", NAMES)
class TestTheRulesOfARealPair:
    def test_take_each_target_key_from_the_sources_of_its_truth(self, name: str, by_name: bool) -> None:
        found = {key: [source.key for source in sources_of(recipe)] for key, recipe in _recipes(_plan(name, by_name=by_name)).items()}
        assert found == {key: truth["from"] for key, truth in pair_of(name).truth.items()}

    def test_leave_nothing_open_missing_or_over_but_what_the_truth_leaves(self, name: str, by_name: bool) -> None:
        found, pair = _suggested(name, by_name=by_name), pair_of(name, by_name=by_name)
        assert found.is_settled
        assert set(found.missing) == set(pair.new)
        assert set(found.unused) == set(pair.unused)
        assert set(_plan(name, by_name=by_name).outcome.missing_keys) == set(pair.new)

    def test_are_what_the_text_says(self, name: str, by_name: bool) -> None:
        found = _suggested(name, by_name=by_name)
        assert parse_rules(found.text, "rules.yaml") == found.rules

    def test_tell_why_each_is_there_and_how_sure(self, name: str, by_name: bool) -> None:
        for rule in _suggested(name, by_name=by_name).rules.rules:
            assert re.search("confidence 0.999$|^no part of the model takes", rule.why), rule

    def test_are_few(self, name: str, by_name: bool) -> None:
        assert _suggested(name, by_name=by_name).size <= _MOST


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_source_changes_nothing_which_is_said(name: str) -> None:
    assert _suggested(name, by_name=True).size == _suggested(name).size


def test_half_of_the_files_are_short_enough_to_be_read_at_a_glance() -> None:
    assert median(_suggested(name).size for name in NAMES) <= _MEDIAN


@pytest.mark.parametrize("name", NAMES)
def test_the_values_are_those_of_the_truth(name: str) -> None:
    pair, recipes = pair_of(name), _recipes(_plan(name))
    for key, truth in pair.truth.items():
        if truth["op"] == "identity":
            assert isinstance(recipes[key], Source), key
            continue
        tensors = {each: _numbers(each, pair.source.tensors[each].shape, at) for at, each in enumerate(truth["from"])}
        wanted = evaluate(truth["op"], [tensors[each] for each in truth["from"]])
        assert torch.equal(_value(recipes[key], tensors), wanted), key


def _numbers(key: str, shape: tuple[int, ...], at: int) -> torch.Tensor:
    """Different numbers in each of a truth's sources; exact under sums and means."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) + at * count).reshape(shape)


def _value(recipe: Recipe, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    if isinstance(recipe, Source):
        return tensors[recipe.key]
    return recipe.op.apply(tuple(_value(part, tensors) for part in recipe.inputs))[recipe.output]


@pytest.mark.parametrize("name", NAMES)
def test_no_pair_of_names_is_there_for_nothing(name: str) -> None:
    for rule in _suggested(name).rules.rules:
        if isinstance(rule.op, Rename | Replace | CopyKeys):
            step = next(step for step in _plan(name).steps if step.where == rule.where.replace("suggested rules", "rules.yaml"))
            assert len(step.changes) >= 1
            assert len(rule.op.pairs) <= len(step.changes)


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("tsm_r50_kinetics_shift_to_noshift", ["drop", "align_names"]),
        ("tsm_r50_noshift_to_shift", ["drop", "align_names"]),
        ("tsm_r50_rgb_dp_to_flow_nodp", ["drop", "strip_prefix", "adapt_in_channels"]),
        ("timm_r50_rgb_to_gray_newhead", ["drop", "adapt_in_channels"]),
        ("torchvision_r50_to_mmpretrain", ["drop", "add_prefix"]),
        ("hf_v4_to_v5_mixtral", ["rename", "concat", "stack", "stack"]),
        ("openai_clip_vitb32_to_timm_vit", ["keep", "rename", "fit", "transpose"]),
    ],
)
def test_the_rules_are_those_which_a_person_would_write(name: str, rules: list[str]) -> None:
    assert [rule.op.name for rule in _suggested(name).rules.rules] == rules
