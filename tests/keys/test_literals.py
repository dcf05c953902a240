"""What a key must hold is never more than what the engine asks for."""

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.literals import literal_of_regex, literal_of_segments
from ckpt_surgeon.keys.patience import Patience
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import parse_segments


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("a.b.c", "a.b.c"),
        ("model.layers.{i:int}.norm", "model.layers"),
        ("layer{i:int}.**.bias", "layer"),
        ("a.**.b", "a"),
        ("**.rotary.inv_freq", "rotary.inv_freq"),
        ("bn*.running_mean", "running_mean"),
        ("a*bcd*e.f", "bcd"),
        ("{p:path}.x.{q|k}", "x"),
        ("**", ""),
        ("{a}.{b}", ""),
    ],
)
def test_the_longest_run_outside_of_wildcards_is_asked_for(pattern, literal):
    assert literal_of_segments(parse_segments(pattern)) == literal


@pytest.mark.parametrize(
    ("expression", "literal"),
    [
        (r"(?P<a>.*)\.w2\.weight", ".w2.weight"),
        (r"^visual", "visual"),
        (r"layers?\.norm2$", ".norm2"),
        (r"ab+c", "a"),
        (r"abc{2}d", "ab"),
        (r"[a-z]+_proj\.weight", "_proj.weight"),
        (r"[]x]abc", "abc"),
        (r"[\]x]abc", "abc"),
        (r"(foo|bar)baz", "baz"),
        (r"(?:a(b)c)de", "de"),
        (r"\d+\.weight", ".weight"),
        ("foo|bar", ""),
        ("(?i)weight", ""),
        ("(?=abc)abc", ""),
        ("(?x) a b", ""),
        (r"\x41bc", ""),
        (r"(a)\1bc", ""),
        (r"\p{L}abc", ""),
        ("[[:alpha:]]bc", ""),
        ("abc}", ""),
        ("", ""),
    ],
)
def test_of_an_expression_only_what_is_plain_is_asked_for(expression, literal):
    assert literal_of_regex(expression) == literal


_CHARACTERS = "ab.|()[]*+?{}\\^$12dP<>:=!xi-,"
_KEYS = st.text(alphabet="ab.12x-i", max_size=8)


@given(st.text(alphabet=_CHARACTERS, max_size=10), _KEYS)
def test_whatever_an_expression_finds_holds_its_literal(expression, key):
    try:
        compiled = regex.compile(expression, regex.VERSION0)
        found = compiled.search(key, timeout=1)
    except (regex.error, TimeoutError, ValueError, OverflowError):
        return
    assert found is None or literal_of_regex(expression) in key


_PIECES = st.sampled_from(["a", "b", "*", "{i:int}", "{n}", "{a|b}", "12", "x"])
_SEGMENTS = st.one_of(st.lists(_PIECES, min_size=1, max_size=3).map("".join), st.just("**"), st.just("{p:path}"))


@given(st.lists(_SEGMENTS, min_size=1, max_size=4), st.lists(st.text(alphabet="ab12x", min_size=1, max_size=3), min_size=1, max_size=4))
def test_whatever_a_pattern_matches_holds_its_literal(segments, words):
    pattern, key = ".".join(segments), ".".join(words)
    try:
        parsed = Pattern.parse(pattern)
    except RulesError:
        return
    matches = _plain(segments).fullmatch(f"{key}.") is not None
    assert (parsed.match(key) is not None) == matches
    assert not matches or literal_of_segments(parse_segments(pattern)) in key


def _plain(segments: list[str]) -> re.Pattern[str]:
    """The pattern as one expression over a key with a dot at its end."""
    meanings = {"**": r"(?:[^.]+\.)*", "*": "[^.]*", "{i:int}": "[0-9]+", "{n}": "[^.]+", "{a|b}": "[ab]", "{p:path}": r"(?:[^.]+\.)*"}
    sources = ["".join(meanings.get(word, word) for word in re.findall(r"\*+|\{.*?\}|\w", segment)) for segment in segments]
    return re.compile(
        "".join(source if segment in ("**", "{p:path}") else rf"{source}\." for segment, source in zip(segments, sources, strict=True))
    )


def test_a_key_which_is_too_long_is_refused_though_it_lacks_the_literal():
    with pytest.raises(RulesError, match="4097 characters"):
        Patience().search("re:w", "a" * 4097, lambda _: True, "w")


def test_where_the_literal_is_not_there_nothing_is_searched():
    asked = []
    assert Patience().search("re:w", "abc", asked.append, "w") is None
    assert asked == []
