"""What rules do to a table, and what the end of a plan demands: tables of what must change and what must not."""

import pytest

from ckpt_surgeon.errors import CoverageError, NothingLoadedError, RulesError, SurgeryError
from ckpt_surgeon.planning import Derived, Plan, Source, make_plan, sources_of
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

F = "float32"


def header(_aliases=None, _metadata=None, **entries) -> Header:
    """`a__weight=(2, 3)` stands for the key `a.weight`, an f32 tensor of that shape."""
    specs = {
        key.replace("__", "."): value if isinstance(value, TensorSpec | Opaque) else TensorSpec.of(F, *value)
        for key, value in entries.items()
    }
    return Header(specs, aliases=_aliases or {}, torch_metadata=_metadata or {})


def planned(rules, source, target=None, **options) -> Plan:
    document = rules if isinstance(rules, dict) else {"version": 1, "rules": rules}
    return make_plan(as_rules(document), source, target, **options)


def names(plan: Plan) -> dict[str, list[str]]:
    return {key: [source.key for source in sources_of(recipe)] for key, recipe in plan.recipes.items()}


AB = header(a__weight=(2, 3), b__weight=(2, 3))

NAME_RULES = [
    ("strip_prefix", [{"strip_prefix": "a."}], {"weight": ["a.weight"], "b.weight": ["b.weight"]}),
    ("add_prefix", [{"add_prefix": "net."}], {"net.a.weight": ["a.weight"], "net.b.weight": ["b.weight"]}),
    (
        "a swap in one rename",
        [{"rename": {"a.weight": "b.weight", "b.weight": "a.weight"}}],
        {"b.weight": ["a.weight"], "a.weight": ["b.weight"]},
    ),
    ("drop", [{"drop": "a.**"}], {"b.weight": ["b.weight"]}),
    ("keep", [{"keep": "a.**"}], {"a.weight": ["a.weight"]}),
    ("copy", [{"copy": {"a.weight": "c.weight"}}], {"a.weight": ["a.weight"], "c.weight": ["a.weight"], "b.weight": ["b.weight"]}),
    (
        "each rule sees what the one before left",
        [{"rename": {"a.weight": "x"}}, {"rename": {"x": "y"}}],
        {"y": ["a.weight"], "b.weight": ["b.weight"]},
    ),
    ("a rule whose condition does not hold", [{"drop": "a.**", "if": "lost"}], {"a.weight": ["a.weight"], "b.weight": ["b.weight"]}),
]


@pytest.mark.parametrize(("rules", "wanted"), [case[1:] for case in NAME_RULES], ids=[case[0] for case in NAME_RULES])
def test_names_move_and_nothing_else_does(rules, wanted):
    assert names(planned(rules, AB, variables={"lost": False})) == wanted


def test_a_tie_is_a_second_name_and_a_copy_is_not():
    tied = planned([{"tie": {"a.weight": "c.weight"}}], AB)
    assert tied.ties == {"c.weight": "a.weight"}
    assert list(tied.header.entries) == ["a.weight", "c.weight", "b.weight"]
    assert planned([{"copy": {"a.weight": "c.weight"}}], AB).ties == {}


def test_source_ties_stay_whole_through_renames_and_equal_ops():
    source = header({"b.weight": "a.weight"}, a__weight=(2, 3), b__weight=(2, 3))
    assert planned([{"add_prefix": "m."}], source).ties == {"m.b.weight": "m.a.weight"}
    assert planned([{"cast": {"match": "**", "dtype": "float64"}}], source).ties == {"b.weight": "a.weight"}
    assert planned([{"cast": {"match": "b.**", "dtype": "float64"}}], source).ties == {}


def test_a_target_key_tied_to_a_loaded_one_is_loaded():
    target = header({"head.weight": "embed.weight"}, embed__weight=(4, 2), head__weight=(4, 2))
    plan = planned([], header(embed__weight=(4, 2)), target)
    assert plan.ties == {"head.weight": "embed.weight"}
    assert plan.outcome.coverage == 1.0
    assert plan.outcome.missing_keys == ()


def test_of_tied_names_the_first_in_the_target_bears_the_recipe():
    target = header({"head.weight": "embed.weight"}, embed__weight=(4, 2), head__weight=(4, 2))
    plan = planned([], header(head__weight=(4, 2)), target)
    assert plan.ties == {"head.weight": "embed.weight"}
    assert names(plan) == {"embed.weight": ["head.weight"]}
    assert list(plan.header.entries) == ["embed.weight", "head.weight"]


BAD_RULES = [
    ("matches nothing", [{"drop": "c.**"}], "drop: nothing matches 'c"),
    ("fewer than expected", [{"drop": "a.**", "expect": 2}], "expected 2 matches of .*, found 1: a.weight"),
    ("more than expected", [{"drop": "**", "expect": 1}], "expected 1 match of .*, found 2: a.weight, b.weight"),
    ("two recipes for one key", [{"rename": {"a.weight": "b.weight"}}], "two recipes for b.weight: a.weight"),
    ("an unset variable", [{"drop": "a.**", "if": "unset"}], "unset"),
    ("align_names without a target", [{"align_names": {"prefixes": ["a."]}}], "needs a target"),
    ("a size of the target without one", [{"reshape": {"match": "a.weight", "shape": "target"}}], "target"),
    ("when mismatched without a target", [{"drop": "a.**", "when": "mismatched"}], "target"),
    ("a shape which does not fit", [{"reshape": {"match": "a.weight", "shape": [4, 2]}}], "a.weight"),
    ("a narrowing cast", [{"cast": {"match": "a.weight", "dtype": "float16"}}], "f32 -> f16 would lose values"),
    ("a float cast to integer", [{"cast": {"match": "a.weight", "dtype": "int64"}}], "would lose values"),
]


@pytest.mark.parametrize(("rules", "message"), [case[1:] for case in BAD_RULES], ids=[case[0] for case in BAD_RULES])
def test_a_rule_which_does_not_fit_the_keys_is_refused(rules, message):
    with pytest.raises(RulesError, match=message) as caught:
        planned(rules, AB)
    assert all(problem.where for problem in caught.value.problems)


def test_the_problems_of_all_rules_come_together():
    with pytest.raises(RulesError) as caught:
        planned([{"drop": "x"}, {"drop": "y"}, {"drop": "a.**"}], AB)
    assert len(caught.value.problems) == 2


def test_a_rule_which_matches_nothing_says_which_word_no_key_has():
    with pytest.raises(RulesError) as caught:
        planned([{"drop": "*.wieght"}], AB)
    assert caught.value.hint == "no key has a part 'wieght'; did you mean 'weight'?"


def test_one_of_several_patterns_which_matches_nothing_is_a_note():
    plan = planned([{"drop": ["a.**", "bb.**"]}], AB)
    assert [note for note in plan.notes if "'bb.**'" in note]
    assert planned([{"drop": ["a.**", "bb.**"], "expect": "any"}], AB).notes == ()


def test_a_rule_which_its_condition_leaves_out_is_a_note():
    plan = planned([{"drop": "a.**", "if": "lost"}], AB, variables={"lost": False})
    assert [note for note in plan.notes if "left out" in note and "drop" in note]


def test_problems_after_a_failed_rule_say_that_they_may_follow_from_it():
    with pytest.raises(RulesError) as caught:
        planned([{"rename": {"a.wight": "x"}}, {"drop": "x"}], AB)
    first, second = caught.value.problems
    assert "may follow" not in first.what
    assert second.what.endswith(f"(may follow from {first.where})")


def test_a_collision_names_both_sources_and_both_rules():
    with pytest.raises(RulesError) as caught:
        planned([{"rename": {"a.weight": "x"}}, {"rename": {"b.weight": "x"}}], AB)
    message = str(caught.value)
    assert "a.weight" in message
    assert "b.weight" in message
    assert message.count("rules[") >= 2


def test_a_narrowing_cast_which_is_allowed_by_name_passes():
    rules = {"version": 1, "rules": [{"cast": {"match": "a.weight", "dtype": "float16"}}], "allow": {"casts": ["a.weight"]}}
    assert str(planned(rules, AB).header.tensors["a.weight"]) == "f16[2, 3]"


def test_split_and_concat_stand_where_their_first_input_stood():
    source = header(q=(2, 3), k=(2, 3), v=(2, 3), z=(1,))
    joined = planned([{"concat": {"source": "{x:q|k|v}", "target": "qkv", "dim": 0}}], source)
    assert [(key, str(recipe.spec)) for key, recipe in joined.recipes.items()] == [("qkv", "f32[6, 3]"), ("z", "f32[1]")]
    parted = planned([{"split": {"source": "qkv", "target": "{x:q|k|v}", "dim": 0}}], header(qkv=(6, 3), z=(1,)))
    assert list(parted.recipes) == ["q", "k", "v", "z"]
    assert [recipe.output for recipe in parted.recipes.values() if isinstance(recipe, Derived)] == [0, 1, 2]


def test_an_opaque_entry_can_be_renamed_but_not_computed_with():
    source = header(a__extra=Opaque("dict"), a__weight=(2,))
    assert "b.extra" in planned([{"rename": {"a.extra": "b.extra"}}], source).recipes
    with pytest.raises(RulesError, match="no plain tensor"):
        planned([{"reshape": {"match": "a.extra", "shape": [1]}}], source)


TARGET = header(a__weight=(2, 3), b__weight=(2, 3))
ENDS = [
    ("missing", header(a__weight=(2, 3)), {}, "missing: 1 of the target's 2 keys are not in the source: b.weight"),
    ("unexpected", header(a__weight=(2, 3), b__weight=(2, 3), c=(1,)), {}, "unexpected: 1 key has no place in the target: c"),
    ("mismatched", header(a__weight=(2, 3), b__weight=(3, 2)), {}, r"mismatched: b.weight is f32\[3, 2\], the target wants f32\[2, 3\]"),
    ("mismatched, though missing is allowed", header(a__weight=(2, 3), b__weight=(3, 2)), {"missing": ["**"]}, "mismatched"),
    ("narrower", header(a__weight=(2, 3), b__weight=TensorSpec.of("float64", 2, 3)), {}, "would lose values"),
]


@pytest.mark.parametrize(("source", "allow", "message"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_the_end_demands_a_whole_target(source, allow, message):
    with pytest.raises(CoverageError, match=message):
        planned({"version": 1, "rules": [], "allow": allow}, source, TARGET)


def test_every_problem_of_the_end_is_told_at_once():
    with pytest.raises(CoverageError) as caught:
        planned([], header(a__weight=(3, 3), c=(1,)), TARGET)
    assert [problem.what.split(":")[0] for problem in caught.value.problems] == ["missing", "unexpected", "mismatched"]


def test_what_is_allowed_is_left_out_with_its_reason():
    plan = planned(
        {"version": 1, "rules": [], "allow": {"missing": ["b.**"], "unexpected": ["c"]}}, header(a__weight=(2, 3), c=(1,)), TARGET
    )
    assert plan.outcome.missing_keys == ("b.weight",)
    assert plan.outcome.unexpected_keys == ("c",)
    assert plan.dropped == {"c": "the target has no such key"}
    assert plan.outcome.coverage == 1.0


def test_nothing_loaded_is_an_error_even_where_all_may_be_missing():
    rules = {"version": 1, "rules": [], "allow": {"missing": ["**"], "unexpected": ["**"]}}
    with pytest.raises(NothingLoadedError, match="nothing would be loaded"):
        planned(rules, header(module__a__weight=(2, 3)), TARGET)


def test_the_output_stands_in_the_targets_order():
    plan = planned([], header(b__weight=(2, 3), a__weight=(2, 3)), TARGET)
    assert list(plan.header.entries) == ["a.weight", "b.weight"]


def test_one_and_none_match_with_a_note_and_are_written_in_the_targets_shape():
    plan = planned([], header(a__weight=(2, 3), b__weight=(2, 3), n=(1,)), header(a__weight=(2, 3), b__weight=(2, 3), n=()))
    assert plan.header.tensors["n"].shape == ()
    assert any(note.startswith("n:") for note in plan.notes)
    assert plan.outcome.adapted == ("n",)


def test_a_widening_cast_is_a_note_and_moves_no_bytes():
    half = TensorSpec.of("float16", 2, 3)
    plan = planned([], header(a__weight=half, b__weight=half), TARGET)
    assert all(isinstance(recipe, Source) for recipe in plan.recipes.values())
    assert any("f16" in note and "f32" in note for note in plan.notes)


def batch_norm(with_counter: bool, version: int | None) -> Header:
    entries = {"bn__weight": (4,), "bn__running_mean": (4,)}
    if with_counter:
        entries["bn__num_batches_tracked"] = TensorSpec.of("int64")
    metadata = {} if version is None else {"": {"version": 1}, "bn": {"version": version}}
    return header(_metadata=metadata, **entries)


@pytest.mark.parametrize(("version", "written"), [(None, False), (1, False), (2, True)])
def test_a_counter_which_torch_fills_is_written_only_where_the_metadata_says_that_it_is_there(version, written):
    plan = planned([], batch_norm(False, version), batch_norm(True, 2))
    assert plan.filled == ("bn.num_batches_tracked",)
    assert plan.outcome.coverage == 1.0
    assert ("bn.num_batches_tracked" in plan.header.entries) is written


def test_a_counter_without_its_batch_norm_is_missing():
    with pytest.raises(CoverageError, match="num_batches_tracked"):
        planned(
            {"version": 1, "rules": [], "allow": {"missing": ["bn.weight", "bn.running_mean"]}},
            header(a=(1,)),
            header(
                a=(1,),
                bn__weight=(4,),
                bn__running_mean=(4,),
                bn__num_batches_tracked=TensorSpec.of("int64"),
            ),
        )


def test_init_makes_what_the_table_lacks_and_counts_as_no_coverage():
    plan = planned([{"init": {"match": "**", "value": "zeros"}}], header(a__weight=(2, 3)), TARGET)
    assert plan.outcome.exact == ("a.weight",)
    assert plan.outcome.initialized == ("b.weight",)
    assert plan.outcome.coverage == 0.5
    with pytest.raises(CoverageError, match="coverage"):
        planned([{"init": {"match": "**", "value": "zeros"}}], header(a__weight=(2, 3)), TARGET, require_coverage=0.9)


def test_fit_reshapes_only_what_differs_by_ones():
    target = header(a__weight=(2, 3, 1, 1), b__weight=(2, 3))
    plan = planned([{"fit": "**"}], AB, target)
    assert plan.outcome.adapted == ("a.weight",)
    assert plan.outcome.exact == ("b.weight",)
    with pytest.raises(RulesError):
        planned([{"fit": "a.weight"}], AB, header(a__weight=(3, 2), b__weight=(2, 3)))


def test_when_mismatched_leaves_what_fits():
    target = header(a__weight=(2, 4), b__weight=(2, 3))
    rules = {"version": 1, "rules": [{"drop": "**", "when": "mismatched"}], "allow": {"missing": ["a.weight"]}}
    plan = planned(rules, AB, target)
    assert plan.outcome.exact == ("b.weight",)
    assert list(plan.dropped) == ["a.weight"]


def test_align_names_alone_changes_nothing_where_all_names_agree():
    plan = planned([{"align_names": {"prefixes": ["module."]}}], AB, TARGET)
    assert plan.outcome.exact == ("a.weight", "b.weight")
    assert "ckpt_surgeon.rules" not in plan.header.metadata


def test_the_rules_digest_stands_in_the_metadata_of_what_they_changed():
    first = planned([{"add_prefix": "m."}], AB)
    assert first.header.metadata["ckpt_surgeon.rules"] == first.digest
    assert first.digest != planned([{"add_prefix": "n."}], AB).digest


def test_metadata_moves_with_its_modules():
    source = header(
        _metadata={
            "": {"version": 1},
            "module": {"version": 1},
            "module.bn": {"version": 2},
            "module.relu": {"version": 1},
            "module.fc": {"version": 1},
        },
        module__bn__weight=(4,),
        module__fc__weight=(4,),
    )
    plan = planned([{"drop": "module.fc.**"}, {"strip_prefix": "module."}], source)
    assert plan.header.torch_metadata == {"": {"version": 1}, "bn": {"version": 2}, "relu": {"version": 1}}


def test_many_missing_keys_are_folded_in_the_message():
    target = Header({f"layer.{i}.weight": TensorSpec.of(F, 2) for i in range(500)} | {"a": TensorSpec.of(F, 1)})
    with pytest.raises(CoverageError) as caught:
        planned([], header(a=(1,)), target)
    assert len(str(caught.value)) < 400
    assert "x500" in str(caught.value)


def test_names_of_a_file_are_escaped_in_messages():
    with pytest.raises(SurgeryError) as caught:
        planned([], Header({"a\n\x1b[31m": TensorSpec.of(F, 1), "b": TensorSpec.of(F, 1)}), header(b=(1,)))
    assert "\x1b" not in str(caught.value)
    assert "a\n" not in str(caught.value)
