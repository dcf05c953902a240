"""Other tools' tables of regular expressions do the same as rules as they do there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.rules import Rules, rules_from_key_mapping, rules_from_revise_keys

KEYS = ["visual.proj.weight", "model.layers.0.w", "model.visual.x", "lm_head.weight", "module.backbone.a", "backbone.module.b"]


def moved(rules: Rules, keys: list[str]) -> list[str]:
    """The names after all rules."""
    for rule in rules.rules:
        places = {edit.source: edit.target for edit in rule.op.edits(keys, None) if isinstance(edit, Move)}
        keys = [places.get(key, key) for key in keys]
    return keys


def as_transformers_does(mapping: dict[str, str], key: str) -> str:
    for pattern, replacement in mapping.items():
        new, count = re.subn(pattern, replacement, key)
        if count > 0:
            return new
    return key


def as_mmengine_does(pairs: list[tuple[str, str]], key: str) -> str:
    for pattern, replacement in pairs:
        key = re.sub(pattern, replacement, key)
    return key


MAPPINGS = [
    {r"^visual": "model.visual", r"^model(?!\.(language_model|visual))": "model.language_model"},
    {r"^model": "m", r"^m\.": "never"},
    {r"\.(\d+)\.": r".block\1."},
    {r"^(?P<a>\w+)\.": r"\g<a>.x."},
    {r"^module\.": ""},
    {r"nothing": "here"},
]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_key_mapping_stops_at_the_first_expression_which_replaces(mapping):
    assert moved(rules_from_key_mapping(mapping), KEYS) == [as_transformers_does(mapping, key) for key in KEYS]


@pytest.mark.parametrize("pairs", [list(mapping.items()) for mapping in MAPPINGS] + [[(r"^module\.", ""), (r"^backbone\.", "")]])
def test_revised_keys_go_through_every_pair(pairs):
    assert moved(rules_from_revise_keys(pairs), KEYS) == [as_mmengine_does(pairs, key) for key in KEYS]


PAIRS = st.lists(st.tuples(st.sampled_from(["a", "^a", "b$", "ab", r"(a)b", "c"]), st.sampled_from(["a", "b", "x", "ab"])), max_size=4)
NAMES = st.lists(st.text(alphabet="abc.", min_size=1, max_size=6), max_size=5, unique=True)


@given(PAIRS, NAMES)
def test_generated_tables_do_the_same(pairs, names):
    assert moved(rules_from_revise_keys(pairs), names) == [as_mmengine_does(pairs, name) for name in names]
    mapping = dict(pairs)
    assert moved(rules_from_key_mapping(mapping), names) == [as_transformers_does(mapping, name) for name in names]


def test_imported_rules_may_match_nothing():
    imported = (*rules_from_key_mapping({"a": "b", "c": "d"}).rules, *rules_from_revise_keys([("a", "b"), ["c", "d"]]).rules)
    assert [rule.expect for rule in imported] == ["any"] * 3


def test_empty_tables_are_no_rules():
    assert rules_from_key_mapping({}) == rules_from_revise_keys([]) == Rules()


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("(", "")], "regular expression"),
        ([("a", r"\1")], "replacement"),
        ([("a",)], "no pair"),
        ([("a", "b", "c")], "no pair"),
        ([("a", 1)], "texts"),
    ],
)
def test_what_is_no_table_is_refused(pairs, says):
    with pytest.raises(RulesError) as caught:
        rules_from_revise_keys(pairs)
    assert says in str(caught.value)
    assert caught.value.problems[0].where.startswith("rules[0]")


@pytest.mark.parametrize("mapping", [None, "a", ["a"], 3])
def test_what_is_no_mapping_is_refused(mapping):
    with pytest.raises(RulesError, match="a table of expression"):
        rules_from_key_mapping(mapping)
