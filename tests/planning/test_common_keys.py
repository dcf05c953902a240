"""`when`, `if`, `expect`, `why` beside ops on names and ops on tensors: what they hold back, and what beside it they do not."""

import pytest
from planned import header, names, planned

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.planning import explain
from ckpt_surgeon.spec import Opaque

SOURCE = header(a=(2, 3), b=(2, 3), c=(6,))
SAME = {"a": ["a"], "b": ["b"], "c": ["c"]}

OPS = {
    "a name op": ({"rename": {"a": "x"}}, {"x": ["a"], "b": ["b"], "c": ["c"]}),
    "a drop": ({"drop": "a"}, {"b": ["b"], "c": ["c"]}),
    "a copy": ({"copy": {"a": "x"}}, {"a": ["a"], "x": ["a"], "b": ["b"], "c": ["c"]}),
    "an op in place": ({"transpose": {"match": "a"}}, SAME),
    "an op which renames": ({"reshape": {"source": "a", "target": "x", "shape": [6]}}, {"x": ["a"], "b": ["b"], "c": ["c"]}),
    "an op on many": ({"concat": {"source": ["a", "b"], "target": "x"}}, {"x": ["a", "b"], "c": ["c"]}),
    "an op into many": ({"split": {"source": "c", "target": ["x", "y"]}}, {"a": ["a"], "b": ["b"], "x": ["c"], "y": ["c"]}),
    "new values": ({"init": {"match": "x", "value": "ones", "shape": [1], "dtype": "int8"}}, SAME | {"x": []}),
}

CONDITIONS = [
    ("lost", {"lost": True}, True),
    ("lost", {"lost": False}, False),
    ({"modality": "Flow"}, {"modality": "Flow"}, True),
    ({"modality": "Flow"}, {"modality": "RGB"}, False),
    ({"not": "lost"}, {"lost": True}, False),
    ({"not": "lost"}, {"lost": False}, True),
    ({"not": {"modality": "Flow"}}, {"modality": "RGB"}, True),
]


@pytest.mark.parametrize(("rule", "wanted"), OPS.values(), ids=OPS)
@pytest.mark.parametrize(("condition", "variables", "holds"), CONDITIONS)
def test_a_rule_is_there_only_where_its_condition_holds(rule, wanted, condition, variables, holds):
    plan = planned([{**rule, "if": condition}], SOURCE, variables=variables)
    assert names(plan) == (wanted if holds else SAME)
    assert len(plan.steps) == holds


@pytest.mark.parametrize("rule", [rule for rule, _ in OPS.values()], ids=OPS)
@pytest.mark.parametrize("condition", ["lost", {"lost": True}, {"not": "lost"}])
def test_a_variable_which_is_not_set_is_an_error_at_the_rule(rule, condition):
    with pytest.raises(RulesError, match="lost") as caught:
        planned([{"drop": "b"}, {**rule, "if": condition}], SOURCE, variables={"last": True})
    assert [problem.where.startswith("rules[1]") for problem in caught.value.problems] == [True]


def test_a_rule_which_is_not_there_is_not_held_to_its_matches():
    assert names(planned([{"drop": "nothing", "expect": 7, "if": "lost"}], SOURCE, variables={"lost": False})) == SAME


@pytest.mark.parametrize("expect", [1, "any", None])
@pytest.mark.parametrize(("rule", "wanted"), OPS.values(), ids=OPS)
def test_a_rule_with_one_match_is_content_with_one_with_any_and_by_default(rule, wanted, expect):
    assert names(planned([{**rule, "expect": expect} if expect else rule], SOURCE)) == wanted


@pytest.mark.parametrize("rule", [rule for rule, _ in OPS.values()], ids=OPS)
@pytest.mark.parametrize("expect", [0, 2])
def test_another_number_of_matches_is_an_error_which_counts_them(rule, expect):
    with pytest.raises(RulesError, match=f"expected {expect} matches of .*, found 1: "):
        planned([{**rule, "expect": expect}], SOURCE)


IDLE = {
    "rename": {"rename": {"zz": "x"}},
    "replace": {"replace": {"zz": "x"}},
    "strip_prefix": {"strip_prefix": "zz."},
    "add_prefix": {"add_prefix": {"prefix": "m.", "match": "zz"}},
    "drop": {"drop": "zz"},
    "keep": {"keep": "zz"},
    "copy": {"copy": {"zz": "x"}},
    "tie": {"tie": {"zz": "x"}},
    "sub": {"sub": {"zz": "x"}},
    "transpose": {"transpose": {"match": "zz"}},
    "cast": {"cast": {"match": "zz", "dtype": "float64"}},
    "split": {"split": {"source": "zz", "target": ["x", "y"]}},
    "stack": {"stack": {"source": "zz.{i:int}", "target": "x"}},
    "init": {"init": {"match": "a", "value": "zeros"}},
}


@pytest.mark.parametrize("rule", IDLE.values(), ids=IDLE)
def test_a_rule_without_a_match_is_an_error_unless_any_number_will_do(rule):
    with pytest.raises(RulesError, match="nothing matches"):
        planned([rule], SOURCE)
    assert names(planned([{**rule, "expect": "any"}], SOURCE)) == SAME
    assert names(planned([{**rule, "expect": 0}], SOURCE)) == SAME


def test_an_incomplete_list_of_inputs_is_an_error_whatever_is_expected():
    with pytest.raises(RulesError, match="zz"):
        planned([{"concat": {"source": ["a", "zz"], "target": "x"}, "expect": "any"}], SOURCE)


TARGET = header(a=(3, 2), b=(2, 3), c=(6,))
WHEN = {
    "drop": ({"drop": "**"}, {"b": ["b"], "c": ["c"]}),
    "rename": ({"rename": {"a": "x"}}, {"b": ["b"], "c": ["c"]}),
    "transpose": ({"transpose": {"match": ["a", "b"]}}, SAME),
    "reshape": ({"reshape": {"match": "**", "shape": "target"}}, SAME),
    "cast": ({"cast": {"match": ["b", "c"], "dtype": "float64"}, "expect": "any"}, {"b": ["b"], "c": ["c"]}),
}


@pytest.mark.parametrize("name", ["drop", "transpose", "reshape"])
def test_when_mismatched_works_on_the_mismatched_keys_alone(name):
    rule, wanted = WHEN[name]
    plan = planned([{**rule, "when": "mismatched"}], SOURCE, TARGET, allow={"missing": ["a"]})
    assert names(plan) == wanted
    assert plan.outcome.exact == ("b", "c")


def test_when_mismatched_without_a_mismatch_matches_nothing():
    rule = {"drop": "**", "when": "mismatched"}
    with pytest.raises(RulesError, match="nothing matches"):
        planned([rule], SOURCE, SOURCE)
    assert names(planned([{**rule, "expect": "any"}], SOURCE, SOURCE)) == SAME


@pytest.mark.parametrize("rule", [{"drop": "**"}, {"transpose": {"match": "**"}}], ids=["a name op", "a tensor op"])
def test_when_mismatched_counts_only_what_it_works_on(rule):
    rule = {**rule, "when": "mismatched", "expect": 1}
    assert len(planned([rule], SOURCE, TARGET, allow={"missing": ["a"]}).steps[0].changes) == 1


@pytest.mark.parametrize("rule", [{"drop": "z"}, {"reshape": {"match": "z", "shape": [2]}}], ids=["a name op", "a tensor op"])
def test_when_mismatched_needs_the_key_in_the_target(rule):
    source = header(a=(3, 2), b=(2, 3), c=(6,), z=(1,))
    with pytest.raises(RulesError, match="the target has no key z") as caught:
        planned([{**rule, "when": "mismatched"}], source, TARGET)
    assert "after the renames" in caught.value.hint


@pytest.mark.parametrize("rule", [rule for rule, _ in WHEN.values()], ids=WHEN)
def test_when_mismatched_needs_a_target(rule):
    with pytest.raises(RulesError, match="target"):
        planned([{**rule, "when": "mismatched"}], SOURCE)


def test_an_entry_which_is_no_tensor_is_never_mismatched():
    source, target = header(a=(3, 2), x=Opaque("dict")), header(a=(2, 3), x=Opaque("dict"))
    plan = planned([{"transpose": {"match": "**"}, "when": "mismatched"}], source, target)
    assert names(plan) == {"a": ["a"], "x": ["x"]}


@pytest.mark.parametrize("rule", [rule for rule, _ in OPS.values()], ids=OPS)
def test_why_is_carried_to_the_steps_and_changes_nothing(rule):
    plain, told = planned([rule], SOURCE), planned([{**rule, "why": "as in the paper"}], SOURCE)
    assert [step.why for step in told.steps] == ["as in the paper"]
    assert (told.recipes, told.digest, told.header) == (plain.recipes, plain.digest, plain.header)


def test_why_stands_in_the_explanation_of_the_keys_which_the_rule_touched():
    plan = planned([{"rename": {"a": "x"}, "why": "as in the paper"}], SOURCE)
    assert [passage.why for passage in explain(plan, "x").passages] == ["as in the paper"]
    assert explain(plan, "b").passages == ()


REFUSED = [
    ({"drop": "a", "when": "sometimes"}, "when"),
    ({"drop": "a", "expect": -1}, "expect"),
    ({"drop": "a", "expect": True}, "expect"),
    ({"drop": "a", "expect": "some"}, "expect"),
    ({"drop": "a", "if": 3}, "if"),
    ({"drop": "a", "why": 3}, "why"),
    ({"drop": "a", "whne": "mismatched"}, "when"),
    ({"drop": "a", "rename": {"b": "c"}}, "two ops"),
    ({"why": "no op"}, "op"),
]


@pytest.mark.parametrize(("rule", "said"), REFUSED)
def test_a_common_key_which_means_nothing_is_refused(rule, said):
    with pytest.raises(RulesError, match=said):
        planned([rule], SOURCE)
