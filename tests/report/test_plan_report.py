"""`remap --dry-run`: recipes folded, what is left out and why, the optimizer by name; recipes as JSON."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import BLOCKS, PLAN, spec

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.ops.permuting import Transpose
from ckpt_surgeon.ops.splitting import Concat, Split
from ckpt_surgeon.planning.optimizer_plan import OptimizerPlan
from ckpt_surgeon.planning.recipe import Derived, Source
from ckpt_surgeon.report.plan import PlanReport
from ckpt_surgeon.report.recipes import fold_recipes, ops_document, ops_text, recipe_document
from ckpt_surgeon.report.rendering import render
from ckpt_surgeon.spec import Envelope, Header


def lines_of(plan, **options):
    return [" ".join(line.split()) for line in render(PlanReport(plan, **options)).splitlines()]


def test_the_verdict_counts_each_class():
    lines = lines_of(PLAN)
    assert lines[0].startswith("plan: 16 keys, ")
    assert "100.0 % of the target's elements" in lines[0]
    assert lines[1] == "exact 2, renamed 12, adapted 2, initialized 1, missing 1"


def test_recipes_alike_are_one_row():
    lines = lines_of(PLAN)
    assert "layer{1..4}.{0..2}.conv1.weight x12 module.layer{1..4}.{0..2}.conv1.weight renamed" in lines
    assert not [line for line in lines if line.startswith("layer1.0")]


def test_what_is_computed_says_by_what():
    line = next(line for line in lines_of(PLAN) if line.startswith("conv.weight"))
    assert "module.conv.weight adapt_in_channels(mode=mean, in_channels=10" in line
    assert line.endswith("adapted")


def test_exact_keys_are_rows_only_where_details_are_asked_for():
    assert not [line for line in lines_of(PLAN) if line.startswith("same")]
    detailed = lines_of(PLAN, detailed=True)
    assert "same same exact" in detailed
    assert "twin same exact" in detailed
    assert len([line for line in detailed if line.startswith("layer")]) == len(BLOCKS)


def test_what_is_dropped_missing_or_filled_is_told_with_the_reason():
    lines = lines_of(PLAN)
    assert "dropped: 2 keys" in lines
    assert "new_fc.weight dropped by rules.yaml:4:5 (drop)" in lines
    assert "missing, as allowed: 1 key, 32 elements" in lines
    assert "fc.weight f32[4, 8]" in lines
    assert "filled by torch itself: bn.num_batches_tracked" in lines


def test_the_optimizer_is_kept_or_dropped_by_name():
    kept = lines_of(replace(PLAN, optimizer=OptimizerPlan(), notes=()))
    assert "optimizer state kept: optimizer" in kept
    dropped = lines_of(PLAN)
    assert "the optimizer state 'optimizer' is dropped: conv.weight is adapted or new" in dropped
    assert not [line for line in dropped if "kept" in line]
    without = replace(PLAN, source=Header({}, envelope=Envelope()), optimizer=OptimizerPlan(), notes=())
    assert not [line for line in lines_of(without) if "optimizer" in line]


def test_of_an_optimizer_which_follows_each_parameter_is_told():
    fate = OptimizerPlan(
        "followed",
        followed=("a", "b"),
        reset={f"blocks.{i}.w": "adapt_in_channels computes its values anew" for i in range(3)},
        dropped={"fc.weight": "dropped by rules.yaml:4:5 (drop)"},
        new=("head.weight",),
    )
    plan = replace(PLAN, optimizer=fate, notes=())
    lines = lines_of(plan)
    assert "optimizer state followed: optimizer; of its parameters followed 2, reset 3, dropped 1, new 1" in lines
    assert "optimizer state reset: 3 keys" in lines
    assert "blocks.{0..2}.w x3 adapt_in_channels computes its values anew" in lines
    assert "optimizer state dropped: 1 key" in lines
    assert "fc.weight dropped by rules.yaml:4:5 (drop)" in lines
    assert "optimizer state dropped: 1 key" not in lines_of(replace(plan, dropped=fate.dropped))
    assert "blocks.1.w adapt_in_channels computes its values anew" in lines_of(plan, detailed=True)
    assert PlanReport(plan).document()["optimizer"] == {
        "states": ["optimizer"],
        "kept": True,
        "fate": "followed",
        "why": "",
        "followed": ["a", "b"],
        "reset": dict(fate.reset),
        "dropped": dict(fate.dropped),
        "new": ["head.weight"],
    }


def test_a_conversion_speaks_of_no_target():
    plan = replace(PLAN, target=None, recipes={"a": Source("a", spec(3))}, header=Header({"a": spec(3)}), outcome=Outcome(exact=("a",)))
    lines = lines_of(replace(plan, ties={}, dropped={}, filled=()))
    assert lines[0] == "plan: 1 key, 12 B"
    assert not [line for line in lines if "target" in line]


def test_the_document_has_every_target_key_in_order():
    document = PlanReport(PLAN).document()
    assert list(document["targets"]) == list(PLAN.target.entries)
    assert document["targets"]["fc.weight"] == {"sources": [], "ops": [], "class": "missing"}
    assert document["targets"][BLOCKS[0]] == {"sources": [f"module.{BLOCKS[0]}"], "ops": [], "class": "renamed"}
    assert document["targets"]["twin"] == {"sources": ["same"], "ops": [], "class": "exact"}
    assert document["targets"]["bn.num_batches_tracked"]["class"] == "initialized"
    assert document["ties"] == {"twin": "same"}
    told = {"states": ["optimizer"], "kept": False, "fate": "dropped", "why": "conv.weight is adapted or new"}
    assert document["optimizer"] == {**told, "followed": [], "reset": {}, "dropped": {}, "new": []}
    assert document["digest"] == "ab12"


def test_an_op_stands_with_its_parameters():
    document = PlanReport(PLAN).document()
    (op,) = document["targets"]["conv.weight"]["ops"]
    assert (op["op"], op["mode"], op["in_channels"]) == ("adapt_in_channels", "mean", 10)
    assert "output" not in op
    (op,) = document["targets"]["k"]["ops"]
    assert (op["op"], op["output"]) == ("split", 1)


SOURCE, OTHER = Source("a", spec(6, 4)), Source("b", spec(2, 4))
TURNED = Derived(Transpose(), (SOURCE,), 0, spec(4, 6))
PART = Derived(Split(parts=3), (SOURCE,), 2, spec(2, 4))
JOINED = Derived(Concat(), (PART, OTHER), 0, spec(4, 4))
TWICE = Derived(Concat(), (TURNED, TURNED), 0, spec(8, 6))


@pytest.mark.parametrize(
    ("recipe", "names", "sources"),
    [
        (SOURCE, [], ["a"]),
        (TURNED, ["transpose"], ["a"]),
        (JOINED, ["split", "concat"], ["a", "b"]),
        (TWICE, ["transpose", "concat"], ["a"]),
    ],
)
def test_ops_stand_in_the_order_in_which_they_run_each_once(recipe, names, sources):
    assert [op["op"] for op in ops_document(recipe)] == names
    assert recipe_document(recipe, "adapted")["sources"] == sources


def test_the_models_own_weights_are_no_source():
    assert recipe_document(Source("a", spec(1), "model:0"), "initialized")["sources"] == []


def test_ops_in_words_name_the_output_and_no_parameter_left_out():
    assert "output 2" in ops_text(PART)
    assert "None" not in ops_text(PART)
    assert ops_text(SOURCE) == ""


@pytest.mark.parametrize(
    ("pairs", "rows"),
    [
        ([("l.0.w", "m.0.w"), ("l.1.w", "m.1.w")], [("l.{0..1}.w", 2, "m.{0..1}.w")]),
        ([("l.0.w", "m.2.w"), ("l.1.w", "m.3.w")], [("l.{0..1}.w", 2, "m.{2..3}.w")]),
        ([("l.0.w", "m.0.w"), ("k.w", "n.w")], [("l.0.w", 1, "m.0.w"), ("k.w", 1, "n.w")]),
        ([("a1.w", "b.0.0.w"), ("a2.w", "b.0.1.w")], [("a{1..2}.w", 2, "b.0.{0..1}.w")]),
    ],
)
def test_renamed_blocks_fold_on_both_sides(pairs, rows):
    members = [(target, Source(source, spec(1)), "renamed") for target, source in pairs]
    assert [(row.target, row.count, row.sources) for row in fold_recipes(members)] == rows


def test_blocks_whose_numbers_are_swapped_are_never_folded():
    members = [("l.0.w", Source("m.1.w", spec(1)), "renamed"), ("l.1.w", Source("m.0.w", spec(1)), "renamed")]
    rows = fold_recipes(members)
    assert [(row.target, row.sources) for row in rows] == [("l.0.w", "m.1.w"), ("l.1.w", "m.0.w")]


def test_other_ops_or_classes_never_share_a_row():
    members = [("l.0.w", SOURCE, "renamed"), ("l.1.w", SOURCE, "exact"), ("l.2.w", TURNED, "renamed")]
    assert len(fold_recipes(members)) == 3


KEYS = st.builds("{}{}.{}.w".format, st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 4))


@given(st.dictionaries(KEYS, KEYS))
def test_a_row_names_as_many_targets_as_it_says_and_rows_name_all(pairs):
    rows = fold_recipes((target, Source(source, spec(1)), "renamed") for target, source in pairs.items())
    assert sum(row.count for row in rows) == len(pairs)
    for row in rows:
        assert row.count == 1 or row.target.count("{") > 0
        if row.count == 1:
            assert pairs[row.target] == row.sources
