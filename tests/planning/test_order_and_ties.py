"""Where keys stand in the output, and what becomes of tied names."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from planned import header, names, planned

from ckpt_surgeon.errors import CoverageError, RulesError
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.rule import Rule, Rules
from ckpt_surgeon.spec import Opaque, TensorSpec

FIVE = header(a=(2,), q=(2,), m=(4, 2), v=(2,), z=(1,))

ORDERS = [
    ("a rename keeps its place", [{"rename": {"q": "zz"}}], "a zz m v z"),
    ("so does a swap", [{"rename": {"a": "z", "z": "a"}}], "z q m v a"),
    ("so do prefixes", [{"add_prefix": "x."}], "x.a x.q x.m x.v x.z"),
    ("and an op in place", [{"transpose": {"match": "m"}}, {"cast": {"match": ["v", "a"], "dtype": "float64"}}], "a q m v z"),
    ("a copy stands after its source", [{"copy": {"q": "c"}}], "a q c m v z"),
    ("so does a tie", [{"tie": {"q": "c"}}], "a q c m v z"),
    ("what is dropped leaves no gap", [{"drop": "m"}], "a q v z"),
    ("kept keys stay in order", [{"keep": ["z", "q"]}], "q z"),
    ("a concat stands at its first input", [{"concat": {"source": ["q", "v"], "target": "c"}}], "a c m z"),
    ("which is the first of the list", [{"concat": {"source": ["v", "q"], "target": "c"}}], "a m c z"),
    ("a concat into one of its inputs", [{"concat": {"source": ["q", "v"], "target": "v"}}], "a v m z"),
    ("a stack", [{"stack": {"source": ["q", "v"], "target": "c"}}], "a c m z"),
    ("split parts stand where the whole stood", [{"split": {"source": "m", "target": ["y", "b"]}}], "a q y b v z"),
    ("a part with the name of the whole", [{"split": {"source": "m", "target": ["y", "m"]}}], "a q y m v z"),
    ("unstacked ones", [{"unstack": {"source": "m", "target": "m.{i:int}"}}], "a q m.0 m.1 m.2 m.3 v z"),
    ("an op which renames", [{"reshape": {"source": "m", "target": "b", "shape": [8]}}], "a q b v z"),
    ("new values stand at the end", [{"init": {"match": "b", "value": "zeros", "shape": [1], "dtype": "int8"}}], "a q m v z b"),
    (
        "a split of what was joined stands at the first",
        [{"concat": {"source": ["q", "v"], "target": "c"}}, {"split": {"source": "c", "target": ["v", "q"]}}],
        "a v q m z",
    ),
]


@dataclass(frozen=True)
class Backwards(NameDefaults):
    """An op of another package, which says its edits from the last key to the first."""

    name: ClassVar[str] = "backwards"
    ends: str

    def edits(self, keys, target):
        return [Move(key, f"{key}.{self.ends}") for key in reversed(keys)]


def test_the_order_of_an_ops_edits_does_not_matter():
    plan = make_plan(Rules((Rule(Backwards("new")),)), FIVE, None)
    assert list(plan.header) == ["a.new", "q.new", "m.new", "v.new", "z.new"]
    assert [recipe.key for recipe in plan.recipes.values()] == list(FIVE)


@pytest.mark.parametrize(("rules", "wanted"), [case[1:] for case in ORDERS], ids=[case[0] for case in ORDERS])
def test_without_a_target_keys_stay_where_they_stood(rules, wanted):
    plan = planned(rules, FIVE)
    assert list(plan.header) == wanted.split()


@pytest.mark.parametrize("rules", [case[1] for case in ORDERS], ids=[case[0] for case in ORDERS])
def test_with_a_target_its_order_is_taken(rules):
    free = planned(rules, FIVE).header
    backwards = header(**dict(reversed(free.entries.items())))
    plan = planned(rules, FIVE, backwards)
    assert list(plan.header) == list(backwards)
    assert dict(plan.header.entries) == dict(free.entries)


def test_a_group_which_would_take_a_bystanders_name_is_refused():
    with pytest.raises(RulesError, match="two recipes for z"):
        planned([{"concat": {"source": ["q", "v"], "target": "z"}}], FIVE)


TIED = header({"b": "a"}, a=(2, 2), b=(2, 2), c=(3,))
ALL = {"a": ["a"], "b": ["a"], "c": ["c"]}
BOTH, LONE = {"b": "a"}, {}
FATES = [
    ("untouched", [], BOTH, ALL),
    ("both renamed", [{"add_prefix": "x."}], {"x.b": "x.a"}, {"x.a": ["a"], "x.b": ["a"], "x.c": ["c"]}),
    ("swapped", [{"rename": {"a": "b", "b": "a"}}], {"a": "b"}, {"b": ["a"], "a": ["a"], "c": ["c"]}),
    ("the first renamed", [{"rename": {"a": "x"}}], {"b": "x"}, {"x": ["a"], "b": ["a"], "c": ["c"]}),
    ("the first dropped", [{"drop": "a"}], LONE, {"b": ["a"], "c": ["c"]}),
    ("the second dropped", [{"drop": "b"}], LONE, {"a": ["a"], "c": ["c"]}),
    ("one more tie", [{"tie": {"b": "t"}}], {"b": "a", "t": "a"}, {"a": ["a"], "b": ["a"], "t": ["a"], "c": ["c"]}),
    ("a copy of the second", [{"copy": {"b": "t"}}], BOTH, {"a": ["a"], "b": ["a"], "t": ["a"], "c": ["c"]}),
    ("a tie to the copy", [{"copy": {"b": "t"}}, {"tie": {"t": "u"}}], {"b": "a", "u": "t"},
     {"a": ["a"], "b": ["a"], "t": ["a"], "u": ["a"], "c": ["c"]}),
    ("the same op on both", [{"transpose": {"match": ["a", "b"]}}], BOTH, ALL),
    ("one op on one", [{"transpose": {"match": "a"}}], LONE, ALL),
    ("equal ops one after the other", [{"transpose": {"match": "b"}}, {"transpose": {"match": "a"}}], BOTH, ALL),
    ("different ops", [{"reshape": {"match": "a", "shape": [4]}}, {"reshape": {"match": "b", "shape": [1, 4]}}], LONE,
     ALL),
    ("both split", [{"split": {"source": "{x:a|b}", "target": ["{x}.0", "{x}.1"]}}], {"b.0": "a.0", "b.1": "a.1"},
     {"a.0": ["a"], "a.1": ["a"], "b.0": ["a"], "b.1": ["a"], "c": ["c"]}),
    ("joined with each other", [{"concat": {"source": ["a", "b"], "target": "ab"}}], LONE, {"ab": ["a"], "c": ["c"]}),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "ties", "wanted"), [case[1:] for case in FATES], ids=[case[0] for case in FATES])
def test_tied_names_stay_tied_while_the_same_is_done_to_them(rules, ties, wanted):
    plan = planned(rules, TIED)
    assert names(plan) == wanted
    assert plan.ties == plan.header.aliases == ties
    assert not set(plan.ties) & set(plan.recipes)
    assert set(plan.ties.values()) <= set(plan.recipes)


def test_copies_of_tied_names_are_tied_to_nothing():
    plan = planned([{"copy": {"a": "x", "b": "y"}}], TIED)
    assert plan.ties == BOTH
    assert list(plan.header) == ["a", "x", "b", "y", "c"]


TARGETS = [
    ("the target ties them the same way", header({"b": "a"}, a=(2, 2), b=(2, 2), c=(3,)), {"b": "a"}),
    ("the target has them the other way round", header({"a": "b"}, b=(2, 2), a=(2, 2), c=(3,)), {"a": "b"}),
    ("the target does not tie them: the source's tie stays", header(a=(2, 2), b=(2, 2), c=(3,)), {"b": "a"}),
    ("the target has one more name", header({"b": "a", "d": "a"}, a=(2, 2), b=(2, 2), d=(2, 2), c=(3,)), {"b": "a", "d": "a"}),
    ("the name which the target has first is not in the source", header({"a": "0", "b": "0"}, **{"0": (2, 2)}, a=(2, 2), b=(2, 2), c=(3,)),
     {"a": "0", "b": "0"}),
    ("the target ties others", header({"d": "c"}, a=(2, 2), b=(2, 2), c=(3,), d=(3,)), {"b": "a", "d": "c"}),
]  # fmt: skip


@pytest.mark.parametrize(("target", "ties"), [case[1:] for case in TARGETS], ids=[case[0] for case in TARGETS])
def test_the_first_of_the_targets_names_bears_the_tensor(target, ties):
    plan = planned([], TIED, target)
    assert plan.ties == ties
    assert list(plan.header) == list(target)
    assert plan.outcome.coverage == plan.outcome.coverage_keys == 1.0
    assert plan.outcome.missing_keys == ()
    assert dict(plan.header.entries) == dict(target.entries)


def test_untied_sources_of_tied_target_keys_stay_two_tensors():
    target = header({"b": "a"}, a=(2, 2), b=(2, 2))
    assert planned([], header(a=(2, 2), b=(2, 2)), target).ties == {}


def test_a_tie_does_not_hide_a_mismatch():
    with pytest.raises(CoverageError, match="mismatched: a is"):
        planned([], header(a=(3,)), header({"b": "a"}, a=(2, 2), b=(2, 2)))


def test_an_opaque_entry_keeps_its_place_and_can_be_tied_to_nothing_of_another_kind():
    source = header(a=(2,), x=Opaque("dict"), z=(1,))
    assert list(planned([{"rename": {"x": "y"}}, {"copy": {"y": "w"}}], source).header) == ["a", "y", "w", "z"]


COUNTERS = [
    ("its batch norm is renamed", [{"rename": {"old.running_mean": "bn.running_mean"}}], {"old.running_mean": (4,)}, True),
    ("its batch norm is there", [], {"bn.running_mean": (4,)}, True),
    ("another one is there", [], {"bn2.running_mean": (4,)}, False),
]


@pytest.mark.parametrize(("rules", "source", "filled"), [case[1:] for case in COUNTERS], ids=[case[0] for case in COUNTERS])
def test_a_counter_is_filled_where_its_batch_norm_is_after_the_rules(rules, source, filled):
    target = header(w=(1,), bn__running_mean=(4,), bn__num_batches_tracked=TensorSpec.of("int64"))
    plan = planned(rules, header(w=(1,), **source), target, allow={"missing": ["**"], "unexpected": ["**"]})
    assert (plan.filled == ("bn.num_batches_tracked",)) is filled
    assert ("bn.num_batches_tracked" in plan.outcome.missing_keys) is not filled
    assert plan.outcome.classes["bn.num_batches_tracked"] == ("initialized" if filled else "missing")
