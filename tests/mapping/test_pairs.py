"""Rules files as an expert writes them, on the headers of real checkpoints and models: each plan equals the traced truth."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from truths import evaluate

from ckpt_surgeon.errors import CoverageError, RulesError, SurgeryError
from ckpt_surgeon.ops.renaming import Rename
from ckpt_surgeon.ops.replacing import Replace
from ckpt_surgeon.planning import Plan, Recipe, Source, make_plan, sources_of
from ckpt_surgeon.rules.reader import parse_rules
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.spec import Header, TensorSpec

_FOLDER = Path(__file__).parent
_NAMES = sorted(path.stem for path in (_FOLDER / "rules").glob("*.yaml"))

# Their rules say the same in both directions: align_names looks at the target, and they drop what they allow to be missing.
_SYMMETRIC = {"tsm_r50_kinetics_shift_to_noshift", "tsm_r50_noshift_to_shift", "tsm_r50_rgb_to_flow_main"}
# A permutation of rows which keeps the shape: no header can show that it lacks, only the values do.
_INVISIBLE = {("llama_gqa_meta_to_hf", 0), ("llama_gqa_meta_to_hf", 1)}


@dataclass(frozen=True)
class Pair:
    """A source, a target, and for each target key the source keys which it is made of, and how."""

    source: Header
    target: Header
    truth: dict[str, dict[str, Any]]
    new: set[str]
    unused: set[str]


@cache
def _pair(name: str) -> Pair:
    content = json.loads(gzip.decompress((_FOLDER / "pairs" / f"{name}.json.gz").read_bytes()))
    return Pair(
        _header(content["source"]),
        _header(content["target"]),
        content["truth"],
        {*content["unmatched_target"], *content["ignore_target"]},
        set(content["unused_source"]),
    )


def _header(table: dict[str, Any]) -> Header:
    return Header({key: TensorSpec.of(dtype, *shape) for key, (dtype, shape) in table.items()})


@cache
def _rules(name: str) -> Rules:
    path = _FOLDER / "rules" / f"{name}.yaml"
    return parse_rules(path.read_text(), path.name)


@cache
def _plan(name: str) -> Plan:
    return make_plan(_rules(name), _pair(name).source, _pair(name).target)


def _sources(plan: Plan) -> dict[str, list[str]]:
    return {key: [source.key for source in sources_of(recipe)] for key, recipe in plan.recipes.items()}


def _values(recipe: Recipe, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    if isinstance(recipe, Source):
        return tensors[recipe.key]
    return recipe.op.apply(tuple(_values(part, tensors) for part in recipe.inputs))[recipe.output]


def _numbered(keys: list[str], source: Header, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of which no two elements are equal."""
    tensors, start = {}, 0
    for key in keys:
        spec = source.tensors[key]
        tensors[key] = torch.arange(start, start + spec.numel, dtype=dtype).reshape(spec.shape)
        start += spec.numel
    return tensors


def _wrong_values(plan: Plan, pair: Pair) -> Iterator[str]:
    """The target keys whose truth is more than a copy, and whose values are not what the truth says."""
    for key, truth in pair.truth.items():
        if truth["op"] == "identity":
            continue
        computes = "mean" in truth["op"] or "sum" in truth["op"]
        tensors = _numbered(truth["from"], pair.source, torch.float64 if computes else torch.int32)
        wanted = evaluate(truth["op"], [tensors[each] for each in truth["from"]])
        if not torch.equal(_values(plan.recipes[key], tensors), wanted):
            yield key


def test_every_pair_has_its_rules_file_and_every_rules_file_its_pair() -> None:
    assert sorted(path.name.removesuffix(".json.gz") for path in (_FOLDER / "pairs").iterdir()) == _NAMES
    assert len(_NAMES) == 29


@pytest.mark.parametrize("name", _NAMES)
class TestARulesFile:
    def test_takes_each_target_key_from_the_sources_of_its_truth_in_their_order(self, name: str) -> None:
        assert _sources(_plan(name)) == {key: truth["from"] for key, truth in _pair(name).truth.items()}

    def test_computes_what_the_truth_says_and_moves_the_rest_unchanged(self, name: str) -> None:
        plan, pair = _plan(name), _pair(name)
        copied = {key for key, recipe in plan.recipes.items() if isinstance(recipe, Source)}
        assert copied == {key for key, truth in pair.truth.items() if truth["op"] == "identity"}
        assert list(_wrong_values(plan, pair)) == []

    def test_covers_the_target_but_for_what_is_new(self, name: str) -> None:
        outcome = _plan(name).outcome
        assert (outcome.coverage, outcome.coverage_keys) == (1.0, 1.0)
        assert set(outcome.missing_keys) == _pair(name).new

    def test_uses_the_whole_source_but_for_what_it_drops_by_a_rule(self, name: str) -> None:
        dropped = _plan(name).dropped
        assert set(dropped) == _pair(name).unused
        assert all(f"{name}.yaml:" in reason for reason in dropped.values())

    def test_writes_the_target_in_its_order_and_shapes(self, name: str) -> None:
        wanted = [(key, spec) for key, spec in _pair(name).target.tensors.items() if key not in _pair(name).new]
        assert list(_plan(name).header.tensors.items()) == wanted

    def test_means_the_same_whatever_the_order_of_the_source(self, name: str) -> None:
        pair = _pair(name)
        by_name = Header(dict(sorted(pair.source.entries.items())))
        assert make_plan(_rules(name), by_name, pair.target).recipes == _plan(name).recipes

    def test_is_refused_in_the_other_direction_unless_it_means_both(self, name: str) -> None:
        pair = _pair(name)
        if name in _SYMMETRIC:
            assert make_plan(_rules(name), pair.target, pair.source).outcome.coverage == 1.0
            return
        with pytest.raises((RulesError, CoverageError)):
            make_plan(_rules(name), pair.target, pair.source)

    def test_needs_all_that_it_allows(self, name: str) -> None:
        if not _pair(name).new:
            assert _rules(name).allow.missing == ()
            return
        with pytest.raises(CoverageError, match="missing: "):
            make_plan(replace(_rules(name), allow=type(_rules(name).allow)()), _pair(name).source, _pair(name).target)


def _each_rule() -> Iterator[Any]:
    for name in _NAMES:
        for number, rule in enumerate(_rules(name).rules):
            yield pytest.param(name, number, id=f"{name}-{number}-{rule.op.name}")


@pytest.mark.parametrize(("name", "number"), list(_each_rule()))
def test_a_rules_file_needs_each_of_its_rules(name: str, number: int) -> None:
    rules, pair = _rules(name), _pair(name)
    fewer = replace(rules, rules=rules.rules[:number] + rules.rules[number + 1 :])
    if (name, number) in _INVISIBLE:
        assert list(_wrong_values(make_plan(fewer, pair.source, pair.target), pair)) != []
        return
    with pytest.raises(SurgeryError):
        make_plan(fewer, pair.source, pair.target)


@pytest.mark.parametrize("name", _NAMES)
def test_a_rules_file_needs_each_line_of_its_renames(name: str) -> None:
    pair = _pair(name)
    for fewer in _each_line_less(_rules(name)):
        with pytest.raises(SurgeryError):
            make_plan(fewer, pair.source, pair.target)


def _each_line_less(rules: Rules) -> Iterator[Rules]:
    for number, rule in enumerate(rules.rules):
        if not isinstance(rule.op, Rename | Replace) or len(rule.op.pairs) == 1:
            continue
        for line in rule.op.pairs:
            op = type(rule.op)({each: template for each, template in rule.op.pairs.items() if each != line})
            yield replace(rules, rules=(*rules.rules[:number], replace(rule, op=op), *rules.rules[number + 1 :]))


def _longer(entries: dict[str, TensorSpec], key: str) -> dict[str, TensorSpec]:
    return {**entries, f"{key}.more": entries[key]}


def _shorter(entries: dict[str, TensorSpec], key: str) -> dict[str, TensorSpec]:
    return {each: spec for each, spec in entries.items() if each != key}


def _wider(entries: dict[str, TensorSpec], key: str) -> dict[str, TensorSpec]:
    spec = entries[key]
    return {**entries, key: replace(spec, shape=(*spec.shape[:-1], spec.shape[-1] + 1))}


def _narrower(entries: dict[str, TensorSpec], key: str) -> dict[str, TensorSpec]:
    return {**entries, key: TensorSpec.of("float16", *entries[key].shape)}


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("change", [_longer, _shorter, _wider, _narrower])
def test_a_target_which_differs_in_one_key_is_refused_and_the_key_is_named(
    name: str, change: Callable[[dict[str, TensorSpec], str], dict[str, TensorSpec]]
) -> None:
    pair = _pair(name)
    key = next(key for key, truth in reversed(pair.truth.items()) if truth["op"] == "identity" and pair.target.tensors[key].shape)
    with pytest.raises((RulesError, CoverageError)) as caught:
        make_plan(_rules(name), pair.source, Header(change(dict(pair.target.tensors), key)))
    assert key in str(caught.value)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("torchvision_r50_to_mmpretrain", "torchvision_r50_to_detectron2_bottom_up"),
        ("torchvision_r50_to_detectron2_bottom_up", "torchvision_r50_to_mmpretrain"),
        ("convnext_t_fb_to_hf", "convnextv2_n_fb_to_hf"),
        ("convnext_t_fb_to_timm", "convnext_t_fb_to_mmpretrain"),
        ("moco_v2_r50_to_torchvision", "moco_v2_r50_to_detectron2"),
        ("hf_v4_to_v5_mixtral", "hf_v4_to_v5_phimoe"),
        ("openai_clip_vitb32_to_hf", "openai_clip_vitb32_to_timm_vit"),
        ("tsm_r50_kinetics_shift_to_noshift", "tsm_r50_rgb_dp_to_flow_nodp"),
    ],
)
def test_a_target_of_another_library_is_refused(name: str, other: str) -> None:
    with pytest.raises((RulesError, CoverageError)):
        make_plan(_rules(name), _pair(name).source, _pair(other).target)


def test_the_decoy_of_the_trained_encoder_is_not_taken() -> None:
    plan = _plan("moco_v2_r50_to_torchvision")
    assert not any("encoder_k" in key for keys in _sources(plan).values() for key in keys)
