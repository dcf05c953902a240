"""What holds between a plan, a diff, an explanation and an outcome, whatever the rules are."""

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from surgeries import fits, surgeries
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CoverageError, NothingLoadedError
from ckpt_surgeon.planning import Derived, Plan, explain, sources_of
from ckpt_surgeon.spec import Header

EXAMPLES = 50
ALIGN = [{"align_names": {"prefixes": ["module."], "segments": ["net"]}}]
Surgery = tuple[dict[str, Tensor], list[dict[str, Any]]]


@st.composite
def targeted(draw: st.DrawFn) -> tuple[dict[str, Tensor], list[dict[str, Any]], Header]:
    """A surgery which fits, and the header which it gives, in another order: its target."""
    source, rules = draw(surgeries())
    assume(fits(rules, source) and not any(_is_open(rule) for rule in rules))
    made = surgeon.plan(source, rules).header
    assume(len(made))
    return source, rules, _shuffled(made, draw(st.integers(0, 9)))


def _is_open(rule: dict[str, Any]) -> bool:
    """Whether a split leaves its sizes to the target, where another rule may have changed the parts."""
    return "split" in rule and "sizes" not in rule["split"]


def _shuffled(header: Header, seed: int) -> Header:
    keys = list(header)
    random.Random(seed).shuffle(keys)
    first_of: dict[str, str] = {}
    for key in keys:
        first_of.setdefault(header.canonical(key), key)
    ties = {key: first_of[header.canonical(key)] for key in keys if first_of[header.canonical(key)] != key}
    return Header({key: header.entries[key] for key in keys}, aliases=ties)


@settings(max_examples=EXAMPLES)
@given(case=targeted())
def test_a_plan_which_succeeds_is_a_diff_which_is_same_and_so_is_its_output(case: tuple[Any, Any, Header]) -> None:
    source, rules, target = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(source, folder / "source.pt")
        before = surgeon.diff(folder / "source.pt", target, rules)
        outcome = surgeon.write(surgeon.plan(folder / "source.pt", rules, target), folder / "out.pt")
        after = surgeon.diff(folder / "out.pt", target)
    for diff in (before, after):
        assert diff.same
        assert (diff.coverage, diff.coverage_keys, diff.casts) == (1.0, 1.0, {})
    assert (outcome.coverage, outcome.coverage_keys) == (1.0, 1.0)
    assert list(after.matched) == list(target)


@settings(max_examples=EXAMPLES // 3)
@given(case=targeted(), out=st.sampled_from(["out.pt", "out.safetensors"]), rules_again=st.sampled_from([ALIGN, None]))
def test_a_second_surgery_changes_nothing(case: tuple[Any, Any, Header], out: str, rules_again: Any) -> None:
    source, rules, target = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(source, folder / "source.pt")
        (folder / "again").mkdir()
        surgeon.write(surgeon.plan(folder / "source.pt", rules, target), folder / out)
        outcome = surgeon.write(surgeon.plan(folder / out, rules_again, target), folder / "again" / out)
        assert (folder / out).read_bytes() == (folder / "again" / out).read_bytes()
    assert set(outcome.exact) == set(target)


def reads(plan: Plan, key: str) -> list[str]:
    return [source.key for source in sources_of(plan.recipes[plan.ties.get(key, key)])]


@settings(max_examples=EXAMPLES * 2)
@given(case=targeted(), has_target=st.booleans())
def test_an_explanation_ends_where_the_recipe_reads(case: tuple[Any, Any, Header], has_target: bool) -> None:
    source, rules, target = case
    plan = surgeon.plan(source, rules, target if has_target else None)
    canonical = plan.source.canonical
    for key in plan.header:
        way = explain(plan, key)
        assert way.side == "target"
        assert {canonical(end) for end in way.ends} == set(reads(plan, key))
        assert way.classification == plan.outcome.classes[key]
        assert way.recipe is plan.recipes[plan.ties.get(key, key)]


@settings(max_examples=EXAMPLES * 2)
@given(case=targeted(), has_target=st.booleans())
def test_the_way_forwards_is_the_way_back(case: tuple[Any, Any, Header], has_target: bool) -> None:
    source, rules, target = case
    plan = surgeon.plan(source, rules, target if has_target else None)
    tied_to = {key: plan.source.canonical(key) for key in source}
    for key in source:
        if key in plan.header:  # then it is explained as the target's key
            continue
        way = explain(plan, key)
        assert way.side == "source"
        assert set(way.ends) <= {name for name in plan.header if tied_to[key] in reads(plan, name)}
        assert bool(way.ends) is not bool(way.reason)
        assert way.reason == plan.dropped.get(key, "")
        if list(tied_to.values()).count(tied_to[key]) == 1:
            assert set(way.ends) == {name for name in plan.header if key in reads(plan, name)}


@settings(max_examples=EXAMPLES * 2)
@given(case=targeted(), lacking=st.integers(0, 2), more=st.integers(0, 2))
def test_an_outcome_counts_each_key_once(case: tuple[Any, Any, Header], lacking: int, more: int) -> None:
    source, rules, whole = case
    kept = list(whole)[lacking:]
    first_of: dict[str, str] = {}
    for key in kept:
        first_of.setdefault(whole.canonical(key), key)
    ties = {key: first_of[whole.canonical(key)] for key in kept if first_of[whole.canonical(key)] != key}
    new = {f"new.{i}": surgeon.TensorSpec.of("float32", 3) for i in range(more)}
    target = Header({**{key: whole.entries[key] for key in kept}, **new}, aliases=ties)
    try:
        plan = surgeon.plan(source, rules, target, allow_missing=["new.*"], allow_unexpected=["**"])
    except NothingLoadedError:
        assert not kept
        return
    outcome = plan.outcome
    assert list(outcome.classes) != [] or not len(target)
    assert sorted(outcome.classes) == sorted(target)
    assert len(outcome.loaded) + len(outcome.initialized) + len(outcome.missing_keys) == len(target)
    assert outcome.missing_keys == tuple(new)
    assert set(outcome.unexpected_keys) == set(whole) - set(kept)
    assert set(plan.header) == set(kept)
    assert (outcome.coverage, outcome.coverage_keys) == (1.0, 1.0)
    used = {read for key in plan.header for read in reads(plan, key)}
    assert {plan.source.canonical(key) for key in source if key not in outcome.dropped} == used
    derived = {key for key in plan.header if isinstance(plan.recipes[plan.ties.get(key, key)], Derived)}
    assert derived == set(outcome.adapted)


@settings(max_examples=EXAMPLES)
@given(case=targeted(), new=st.integers(1, 40))
def test_coverage_is_the_share_of_elements_which_read_the_source(case: tuple[Any, Any, Header], new: int) -> None:
    source, rules, whole = case
    target = Header({**whole.entries, "new": surgeon.TensorSpec.of("int8", new)}, aliases=whole.aliases)
    init = [*rules, {"init": {"match": "new", "value": "ones"}}]
    outcome = surgeon.plan(source, init, target).outcome
    diff = surgeon.diff(source, target, init)
    assert outcome.coverage == diff.coverage == whole.numel / (whole.numel + new)
    assert outcome.coverage_keys == diff.coverage_keys == (len(whole) - len(whole.aliases)) / (len(whole) - len(whole.aliases) + 1)
    assert outcome.initialized == ("new",)
    with pytest.raises(CoverageError, match="missing"):
        surgeon.plan(source, rules, target)
