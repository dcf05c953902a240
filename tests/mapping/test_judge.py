"""The engine against its slow plain twin: random keys, random name rules, the same table or a refusal by both."""

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from twin import Refused, judged

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.planning import Source, make_plan
from ckpt_surgeon.rules import parse_rules
from ckpt_surgeon.spec import Header, TensorSpec

_SEGMENTS = ("module", "net", "a", "conv1", "conv2", "conv10", "norm", "0", "1", "12", "weight")
_PREFIXES = ("module", "net", "module.net", "a", "conv1")

_segments = st.sampled_from(_SEGMENTS)
_keys = st.lists(st.lists(_segments, min_size=1, max_size=4).map(".".join), min_size=1, max_size=8, unique=True)


def _dotted(prefix: str) -> st.SearchStrategy[str]:
    return st.sampled_from([prefix, f"{prefix}."])


_prefix = st.sampled_from(_PREFIXES).flatmap(_dotted)
# A pattern of one segment with what it captures, and the words which may then stand in a template.
_part = st.one_of(
    _segments.map(lambda text: (text, ())),
    st.just(("*", ())),
    st.just(("conv*", ())),
    st.just(("{x}", ("{x}", "my{x}"))),
    st.just(("{i:int}", ("{i}", "{i+1}", "{i-1}", "at{i}"))),
    st.just(("conv{i:int}", ("conv{i}", "conv{i+1}", "stem{i-1}"))),
    st.just(("{y:weight|norm}", ("{y}", "{y}_"))),
    st.just(("{conv1|0}", ())),
)
_path = st.one_of(st.just(("**", ())), st.just(("{p:path}", ("{p}", "p.{p}"))), st.just(("{q:path}", ("{q}",))))


def _captures_once(parts: list[tuple[str, tuple[str, ...]]]) -> bool:
    words = [words[0] for _, words in parts if words]
    names = [word.strip("{}conv") for word in words]
    return len(names) == len(set(names))


_parts = st.lists(st.one_of(_part, _part, _path), min_size=1, max_size=4).filter(_captures_once)
_runs = st.lists(_part, min_size=1, max_size=2).filter(_captures_once)
_pattern = _parts.map(lambda parts: ".".join(text for text, _ in parts))
_patterns = st.one_of(_pattern, st.lists(_pattern, min_size=1, max_size=3))


@st.composite
def _pair(draw: st.DrawFn, patterns: st.SearchStrategy[Any], shortest: int) -> tuple[str, str]:
    parts = draw(patterns)
    words = [*_SEGMENTS, *(word for _, words in parts for word in words)]
    template = draw(st.lists(st.sampled_from(words), min_size=shortest, max_size=3))
    return ".".join(text for text, _ in parts), ".".join(template)


@st.composite
def _identity(draw: st.DrawFn) -> tuple[str, str]:
    """A pair which keeps all that it captures, so that fewer keys meet in one name."""
    parts = draw(_parts)
    texts = [draw(st.sampled_from(words)) if words else text for text, words in parts]
    return ".".join(text for text, _ in parts), ".".join(text for text in texts if "*" not in text and "|" not in text) or "rest"


def _pairs(pair: st.SearchStrategy[tuple[str, str]], most: int) -> st.SearchStrategy[dict[str, str]]:
    return st.lists(pair, min_size=1, max_size=most, unique_by=lambda each: each[0]).map(dict)


_rule = st.one_of(
    st.fixed_dictionaries({"strip_prefix": st.one_of(_prefix, st.lists(_prefix, min_size=1, max_size=3))}),
    st.fixed_dictionaries({"add_prefix": st.sampled_from(["module.", "new.net."])}),
    st.fixed_dictionaries({"add_prefix": st.fixed_dictionaries({"prefix": st.just("new."), "match": _patterns})}),
    st.fixed_dictionaries({"replace": _pairs(_pair(_runs, 0), 3)}),
    st.fixed_dictionaries({"rename": _pairs(st.one_of(_identity(), _pair(_parts, 1)), 2)}),
    st.fixed_dictionaries({"drop": _patterns}),
    st.fixed_dictionaries({"keep": _patterns}),
)
_rules = st.lists(
    st.tuples(_rule, st.sampled_from([{}, {"expect": "any"}])).map(lambda both: {**both[0], **both[1]}), min_size=1, max_size=3
)


def _planned(rules: list[dict[str, Any]], keys: list[str]) -> dict[str, str]:
    """The engine's table: JSON is YAML."""
    header = Header({key: TensorSpec.of("float32", i + 1) for i, key in enumerate(keys)})
    plan = make_plan(parse_rules(json.dumps({"version": 1, "rules": rules}), "rules.yaml"), header, None)
    assert all(isinstance(recipe, Source) for recipe in plan.recipes.values())
    assert {*(recipe.key for recipe in plan.recipes.values()), *plan.dropped} == set(keys)
    return {key: recipe.key for key, recipe in plan.recipes.items()}


def _outcome(rules: list[dict[str, Any]], keys: list[str]) -> dict[str, str] | None:
    """The engine's table, or None where it refuses."""
    try:
        return _planned(rules, keys)
    except RulesError:
        return None


@settings(max_examples=1000)
@given(_rules, _keys)
def test_the_engine_and_its_twin_agree(rules: list[dict[str, Any]], keys: list[str]) -> None:
    try:
        wanted = judged(rules, keys)
    except Refused:
        wanted = None
    event("refused" if wanted is None else "planned")
    assert _outcome(rules, keys) == wanted


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
