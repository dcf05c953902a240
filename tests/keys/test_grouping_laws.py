"""Laws of grouping, folding back and of arithmetic, on generated keys; Python itself is the judge."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.grouping import group
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template

NAMES = st.text(alphabet="abc_", min_size=1, max_size=4)
LEAVES = st.lists(NAMES, min_size=1, max_size=4, unique=True)


def grouped(keys, source, target, **options):
    return group(keys, [Pattern.parse(source)], [Template.parse(target)], **options)


@given(LEAVES, st.integers(1, 15), st.randoms(use_true_random=False))
def test_folding_an_int_takes_every_key_once_in_numeric_order(leaves, number, rng):
    keys = [f"m.{at}.{leaf}" for at in range(number) for leaf in leaves]
    rng.shuffle(keys)
    groups = grouped(keys, "m.{e:int}.{leaf}", "all.{leaf}")
    assert sorted(key for one in groups for key in one.inputs) == sorted(keys)
    for one in groups:
        assert one.inputs == tuple(f"m.{at}.{one.captures['leaf']}" for at in range(number))
        assert one.outputs == (f"all.{one.captures['leaf']}",)
    firsts = [min(keys.index(key) for key in one.inputs) for one in groups]
    assert firsts == sorted(firsts)


@given(LEAVES, st.integers(1, 15), st.randoms(use_true_random=False))
def test_unfolding_gives_back_what_was_folded(leaves, number, rng):
    keys = [f"m.{at}.{leaf}" for at in range(number) for leaf in leaves]
    rng.shuffle(keys)
    folded = grouped(keys, "m.{e:int}.{leaf}", "all.{leaf}")
    whole = [output for one in folded for output in one.outputs]
    unfolded = grouped(whole, "all.{leaf}", "m.{e:int}.{leaf}", count=lambda _: number)
    assert [one.outputs for one in unfolded] == [one.inputs for one in folded]
    assert [one.inputs for one in unfolded] == [one.outputs for one in folded]
    known = grouped(whole, "all.{leaf}", "m.{e:int}.{leaf}", known=frozenset(keys))
    assert known == unfolded


@given(LEAVES, st.lists(NAMES, min_size=2, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_folding_alternatives_is_listing_them(leaves, parts, rng):
    keys = [f"m.{part}.{leaf}" for part in parts for leaf in leaves]
    rng.shuffle(keys)
    folded = grouped(keys, f"m.{{x:{'|'.join(parts)}}}.{{leaf}}", "all.{leaf}")
    sources = [Pattern.parse(f"m.{part}.{{leaf}}") for part in parts]
    listed = group(keys, sources, [Template.parse("all.{leaf}")])
    assert listed == folded
    targets = [Template.parse(f"m.{part}.{{leaf}}") for part in parts]
    back = group([one.outputs[0] for one in folded], [Pattern.parse("all.{leaf}")], targets)
    assert [one.outputs for one in back] == [one.inputs for one in folded]


@given(LEAVES, st.integers(2, 9), st.data())
def test_a_group_with_a_gap_is_named_with_what_lacks(leaves, number, data):
    lost_leaf, lost = data.draw(st.sampled_from(leaves)), data.draw(st.integers(0, number - 2))
    keys = [f"m.{at}.{leaf}" for at in range(number) for leaf in leaves if (at, leaf) != (lost, lost_leaf)]
    with pytest.raises(RulesError) as caught:
        grouped(keys, "m.{e:int}.{leaf}", "all.{leaf}")
    (problem,) = caught.value.problems
    assert f"lacks e = {lost}" in problem.what
    assert f".{lost_leaf} " in problem.what


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(".".join), max_size=12, unique=True))
def test_one_to_one_takes_each_match_and_leaves_the_others(keys):
    groups = grouped(keys, "{head}.{rest:path}", "{rest}.{head}")
    taken = [one.inputs[0] for one in groups]
    assert taken == keys
    for one in groups:
        head, _, rest = one.inputs[0].partition(".")
        assert one.outputs == ((f"{rest}.{head}" if rest else head),)


def test_a_hundred_thousand_experts_are_grouped():
    keys = [f"l.{layer}.e.{expert}.w" for layer in range(200) for expert in range(500)]
    random.Random(0).shuffle(keys)
    groups = grouped(keys, "l.{i:int}.e.{e:int}.w", "l.{i}.w")
    assert len(groups) == 200
    assert all(one.inputs == tuple(f"l.{one.captures['i']}.e.{expert}.w" for expert in range(500)) for one in groups)


SIGNS = st.sampled_from(["+", "-", "*", "//", "%", " + ", " - "])
OPERANDS = st.one_of(st.sampled_from(["i", "j"]), st.integers(0, 20).map(str))
FORMULAS = st.recursive(
    OPERANDS,
    lambda inner: st.builds(
        lambda a, sign, b, closed: f"({a}{sign}{b})" if closed else f"{a}{sign}{b}", inner, SIGNS, inner, st.booleans()
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(FORMULAS, st.integers(0, 99), st.integers(0, 99))
def test_arithmetic_is_pythons(formula, i, j):
    assume(len(formula) <= 64)
    captures = {"i": str(i), "j": str(j)}
    try:
        expected = eval(formula, {"i": i, "j": j})  # noqa: S307 - made of numbers, two names and signs, above
    except ZeroDivisionError:
        expected = -1
    template = Template.parse(f"a.{{{formula}}}")
    if expected < 0:
        with pytest.raises(RulesError):
            template.expand(captures)
        return
    assert template.expand(captures) == f"a.{expected}"


def parsed(parse, text):
    """The pattern or template, or the problems which say that it is none."""
    try:
        return parse(text)
    except RulesError as error:
        return error.problems


@given(st.one_of(st.text(max_size=40), st.text(alphabet="ab{}|:*.int+-/%() ", max_size=30)))
def test_any_text_is_a_pattern_or_refused_as_one(text):
    for parse in (Pattern.parse, Template.parse):
        found = parsed(parse, text)
        if isinstance(found, tuple):
            assert [problem.where for problem in found] == [""]
            assert all(problem.what.isprintable() for problem in found)
        else:
            assert found.text == text
            assert parse(found.text) == found
