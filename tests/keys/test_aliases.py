"""Aliases: `alias::key` names a key of another source, and only a pattern with the alias sees it."""

import pytest

from ckpt_surgeon.keys.aliases import alias_of, is_alias, of_source, split_alias
from ckpt_surgeon.keys.grouping import group
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template

SPLIT = {
    "ema::fc.weight": ("ema", "fc.weight"),
    "ema_2::{k:path}": ("ema_2", "{k:path}"),
    "ema::re:w[0-9]": ("ema", "re:w[0-9]"),
    "a::b::c": ("a", "b::c"),
    "fc.weight": ("", "fc.weight"),
    "re:a::b": ("", "re:a::b"),
    "re::b": ("", "re::b"),
    "::b": ("", "::b"),
    "ema::": ("", "ema::"),
    "2x::b": ("", "2x::b"),
    "std.x::b": ("", "std.x::b"),
}


@pytest.mark.parametrize(("text", "parts"), SPLIT.items(), ids=SPLIT)
def test_an_alias_stands_at_the_start(text, parts):
    assert split_alias(text) == parts
    assert alias_of(text) == parts[0]
    assert of_source(*parts) == text


@pytest.mark.parametrize(
    ("text", "is_one"), {"ema": True, "_a1": True, "re": False, "1a": False, "a-b": False, "": False, "ä": False}.items()
)
def test_what_may_be_an_alias(text, is_one):
    assert is_alias(text) is is_one


MATCHES = [
    ("ema::fc.weight", "ema::fc.weight", {}),
    ("ema::{k:path}", "ema::a.b", {"k": "a.b"}),
    ("ema::**", "ema::a.b", {}),
    ("ema::{x}.w", "ema::fc.w", {"x": "fc"}),
    (r"ema::re:(?P<x>\w+)\.w", "ema::fc.w", {"x": "fc"}),
    ("ema::fc.weight", "fc.weight", None),
    ("ema::**", "a.b", None),
    ("ema::**", "emas::a.b", None),
    ("ema::*", "ema::a.b", None),
]


@pytest.mark.parametrize(("pattern", "key", "captures"), MATCHES)
def test_a_pattern_with_an_alias_matches_keys_of_that_name(pattern, key, captures):
    parsed = Pattern.parse(pattern)
    assert (parsed.alias, parsed.text) == ("ema", pattern)
    assert parsed.match(key) == captures


def grouped(keys, sources, target, others):
    return [each.inputs for each in group(keys, [Pattern.parse(text) for text in sources], [Template.parse(target)], others=others)]


OTHERS = {"b": ["b::x.w", "b::y.w"], "c": ["c::x.w"]}


def test_each_pattern_sees_the_keys_of_its_own_source():
    assert grouped(["x.w", "y.w"], ["{k}.w", "b::{k}.w"], "{k}", OTHERS) == [("x.w", "b::x.w"), ("y.w", "b::y.w")]
    assert grouped(["x.w", "b::x.w"], ["{k:path}"], "{k}", {}) == [("x.w",), ("b::x.w",)]
    assert grouped(["x.w"], ["b::{k}.w"], "{k}", OTHERS) == [("b::x.w",), ("b::y.w",)]
    assert grouped(["x.w"], ["c::{k}.w", "{k}.w"], "{k}", OTHERS) == [("c::x.w", "x.w")]


def test_an_alias_which_is_not_declared_is_part_of_the_name():
    assert grouped(["b::x.w", "x.w"], ["b::{k}.w"], "{k}", {}) == [("b::x.w",)]
