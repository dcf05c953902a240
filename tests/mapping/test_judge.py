"""The engine against its slow plain twin: random keys, random name rules, the same table or a refusal by both."""

import json
from typing import Any

import pytest
from cases import alignments, cases
from hypothesis import event, given, settings
from twin import Refused, aligned, judged

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.planning import Source, make_plan, rewrite
from ckpt_surgeon.rules.reader import parse_rules
from ckpt_surgeon.spec import Header, TensorSpec


def _planned(rules: list[dict[str, Any]], keys: list[str]) -> dict[str, str]:
    """The engine's table: JSON is YAML."""
    header = Header({key: TensorSpec.of("float32", i + 1) for i, key in enumerate(keys)})
    plan = make_plan(parse_rules(json.dumps({"version": 1, "rules": rules}), "rules.yaml"), header, None)
    moved = {key: recipe.key for key, recipe in plan.recipes.items() if isinstance(recipe, Source)}
    assert len(moved) == len(plan.recipes)
    assert {*moved.values(), *plan.dropped} == set(keys)
    return moved


def _outcome(rules: list[dict[str, Any]], keys: list[str]) -> dict[str, str] | None:
    """The engine's table, or None where it refuses."""
    try:
        return _planned(rules, keys)
    except RulesError:
        return None


@settings(max_examples=500)
@given(cases())
def test_the_engine_and_its_twin_agree(case: tuple[list[dict[str, Any]], list[str]]) -> None:
    rules, keys = case
    try:
        wanted = judged(rules, keys)
    except Refused:
        wanted = None
    event("refused" if wanted is None else "changed" if wanted != {key: key for key in keys} else "unchanged")
    assert _outcome(rules, keys) == wanted


@settings(max_examples=500)
@given(alignments())
def test_the_engine_and_its_twin_align_alike(case: tuple[dict[str, Any], list[str], list[str]]) -> None:
    body, keys, targets = case
    try:
        wanted = aligned(body["prefixes"], body["segments"], keys, targets)
    except Refused:
        wanted = None
    event("refused" if wanted is None else "changed" if list(wanted) != keys else "unchanged")
    assert _aligned(body, keys, targets) == wanted


def _aligned(body: dict[str, Any], keys: list[str], targets: list[str]) -> dict[str, str] | None:
    rules = parse_rules(json.dumps({"version": 1, "rules": [{"align_names": body}]}), "rules.yaml")
    source, target = (Header({key: TensorSpec.of("float32", 1) for key in names}) for names in (keys, targets))
    try:
        table = rewrite(rules, source, target).table
    except RulesError:
        return None
    return {key: cell.origin for key, cell in table.items()}


_KEYS = ["module.conv1.weight", "module.conv2.weight", "module.net.0.weight", "module.net.1.weight", "module.net.12.norm"]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"strip_prefix": "mod"}, None),
        ({"strip_prefix": ["module.", "net"]}, ["conv1.weight", "conv2.weight", "0.weight", "1.weight", "12.norm"]),
        ({"strip_prefix": ["net", "module."]}, ["conv1.weight", "conv2.weight", "net.0.weight", "net.1.weight", "net.12.norm"]),
        ({"replace": {"module": ""}}, ["conv1.weight", "conv2.weight", "net.0.weight", "net.1.weight", "net.12.norm"]),
        (
            {"replace": {"net.{i:int}": "net.{i+1}", "net": "x", "conv{i:int}": "c.{i-1}"}},
            ["module.c.0.weight", "module.c.1.weight", "module.net.1.weight", "module.net.2.weight", "module.net.13.norm"],
        ),
        ({"replace": {"conv": "c"}}, None),
        (
            {"rename": {"module.conv1.{x}": "module.conv2.{x}", "module.conv2.{x}": "module.conv1.{x}"}},
            ["module.conv2.weight", "module.conv1.weight", *_KEYS[2:]],
        ),
        ({"rename": {"module.conv1.{x}": "module.conv2.{x}"}}, None),
        ({"rename": {"module.conv{i:int}.weight": "c{i-2}"}}, None),
        (
            {"rename": {"{p:path}.{i:int}.{x}": "{p}.{i}.sub.{x}"}},
            [*_KEYS[:2], *(f"module.net.{i}" for i in ("0.sub.weight", "1.sub.weight", "12.sub.norm"))],
        ),
        ({"drop": "weight"}, None),
        ({"drop": "**.norm"}, [*_KEYS[:4], None]),
        ({"keep": ["module.conv*.**", "*.net.1.*"]}, [_KEYS[0], _KEYS[1], None, _KEYS[3], None]),
    ],
)
def test_both_read_the_design_alike(rule: dict[str, Any], wanted: list[str | None] | None) -> None:
    if wanted is None:
        assert _outcome([rule], _KEYS) is None
        with pytest.raises(Refused):
            judged([rule], _KEYS)
        return
    table = {target: source for source, target in zip(_KEYS, wanted, strict=True) if target is not None}
    assert judged([rule], _KEYS) == table
    assert _outcome([rule], _KEYS) == table
