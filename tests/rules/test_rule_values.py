"""Conditions, allowances, and rules as values: joined, compared, digested."""

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.rules import Allow, Rules, as_rules, parse_rules
from ckpt_surgeon.rules.condition import Equal, Not, Truthy


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("false", False),
        ("False", False),
        (1, True),
        (0, False),
        ("0", False),
        ("", False),
        (None, False),
        ("null", False),
        ("Flow", True),
        (0.5, True),
    ],
)
def test_a_variable_is_true_unless_it_is_false_nothing_or_zero(value, holds):
    assert Truthy("x").holds({"x": value}) is holds
    assert Not(Truthy("x")).holds({"x": value}) is not holds


@pytest.mark.parametrize("value", ["yes", "no", "on", "off", "No", "y", "N"])
def test_a_word_which_yaml_1_1_and_1_2_read_differently_is_neither_true_nor_false(value):
    with pytest.raises(RulesError, match="neither true nor false") as caught:
        Truthy("x").holds({"x": value})
    assert caught.value.hint == "--set x=true"


@pytest.mark.parametrize(
    ("wanted", "value", "holds"),
    [
        ("Flow", "Flow", True),
        ("Flow", "flow", False),
        ("Flow", "RGB", False),
        (101, 101, True),
        (101, "101", True),
        (101, 102, False),
        (True, "true", True),
        (True, True, True),
        (False, "false", True),
        (0.5, "0.5", True),
        ("no", "no", True),
    ],
)
def test_a_value_from_the_command_line_equals_the_same_value_in_a_file(wanted, value, holds):
    assert Equal((("x", wanted),)).holds({"x": value}) is holds


@pytest.mark.parametrize("value", [1, "1", "yes", "Flow", None])
def test_what_is_compared_with_true_has_to_be_true_or_false(value):
    with pytest.raises(RulesError, match="neither true nor false"):
        Equal((("x", True),)).holds({"x": value})


def test_all_values_have_to_be_equal():
    condition = Equal((("a", 1), ("b", 2)))
    assert condition.holds({"a": 1, "b": 2, "c": 3})
    assert not condition.holds({"a": 1, "b": 3})
    assert Not(condition).holds({"a": 1, "b": 3})


@pytest.mark.parametrize(
    "condition", [Truthy("modality"), Equal((("modality", "Flow"),)), Not(Truthy("modality")), Equal((("x", 2), ("modality", 1)))]
)
def test_an_unset_variable_is_an_error_which_says_how_to_set_it(condition):
    with pytest.raises(RulesError, match="'modality' is not set") as caught:
        condition.holds({"x": 1, "modalty": "Flow"})
    assert "--set modality=VALUE" in caught.value.hint
    assert "modalty" in caught.value.hint


A, B, C = (Pattern.parse(text) for text in "abc")


def test_allowances_join_without_doubles_in_order():
    joined = Allow((A,), (B,), ()).joined(Allow((C, A), (), (B,)))
    assert joined == Allow((A, C), (B,), (B,))


def test_rules_join_in_order_and_the_last_finetune_section_counts():
    first = as_rules({"version": 1, "rules": [{"drop": "a"}], "allow": {"missing": "a"}, "finetune": {"freeze": "a"}})
    second = as_rules({"version": 1, "rules": [{"drop": "b"}], "allow": {"missing": "b"}, "finetune": {"freeze": "b"}})
    third = as_rules([{"drop": "c"}])
    joined = first.joined(second, third)
    assert [rule.op.patterns for rule in joined.rules] == [("a",), ("b",), ("c",)]
    assert joined.allow.missing == (A, B)
    assert joined.finetune.freeze == (B,)
    assert Rules().joined() == Rules()


def test_rules_may_allow_more():
    assert Rules(allow=Allow(missing=(A,))).allowing(Allow(missing=(B,))).allow.missing == (A, B)


BASE = """version: 1
rules:
  - rename: {a: b, c: d}
  - squeeze: {match: "x.*", dims: [0]}
    if: {modality: Flow}
allow: {missing: ["new_fc.**"]}
"""
SAME = [
    (
        "another layout",
        "version: 1\nallow:\n  missing: 'new_fc.**'\n"
        "rules: [{rename: {'a': b, 'c': d}}, {if: {modality: Flow}, squeeze: {dims: [0], match: 'x.*'}}]",
    ),
    ("comments and reasons", BASE.replace("c: d}", "c: d}\n    why: because  # indeed")),
]
DIFFERENT = [
    ("another order of pairs", BASE.replace("a: b, c: d", "c: d, a: b")),
    ("another name", BASE.replace("c: d", "c: e")),
    ("another dim", BASE.replace("dims: [0]", "dims: [1]")),
    ("another pattern", BASE.replace("x.*", "y.*")),
    ("another condition", BASE.replace("Flow", "RGB")),
    ("a negated condition", BASE.replace("{modality: Flow}", "{not: {modality: Flow}}")),
    ("another number of matches", BASE + "finetune: {}\n"),
    ("nothing allowed", BASE.replace("allow: {missing", "allow: {unexpected")),
    ("another op", BASE.replace("rename", "copy")),
    ("an expectation", BASE.replace("c: d}", "c: d}\n    expect: 2")),
]


@pytest.mark.parametrize("text", [case[1] for case in SAME], ids=[case[0] for case in SAME])
def test_the_digest_is_the_same_for_the_same_content(text):
    assert parse_rules(text, "other.yaml").digest == parse_rules(BASE, "base.yaml").digest


@pytest.mark.parametrize("text", [case[1] for case in DIFFERENT], ids=[case[0] for case in DIFFERENT])
def test_the_digest_tells_different_contents_apart(text):
    assert parse_rules(text, "base.yaml").digest != parse_rules(BASE, "base.yaml").digest


def test_the_digest_is_a_sha256_and_does_not_change_between_versions():
    assert Rules().digest == "0aa54b1796db6e0e46e079086197057e71da6373f526e483f3c20f45ccfe3880"
