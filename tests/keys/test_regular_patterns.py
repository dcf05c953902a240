"""`re:` patterns: a full match with named groups, and bounds on length and time."""

import subprocess
import sys

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys import regular
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import Capture
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.ops.substituting import Sub

MATCHES = [
    (r"re:layer\d+\.weight", "layer12.weight", {}),
    (r"re:(?P<head>.*)\.fc\.(?P<leaf>weight|bias)", "a.b.fc.bias", {"head": "a.b", "leaf": "bias"}),
    (r"re:a(?P<n>\d+)?", "a", {"n": ""}),
    (r"re:(a|b)+", "abab", {}),
    (r"re:(?i)FC", "fc", {}),
    (r"re:\p{Lu}.*", "Ä.x", {}),
    (r"re:.*", "a.b.c", {}),
]


@pytest.mark.parametrize(("text", "key", "captures"), MATCHES)
def test_an_expression_matches_the_whole_key_and_captures_its_named_groups(text, key, captures):
    assert Pattern.parse(text).match(key) == captures


@pytest.mark.parametrize(
    ("text", "key"),
    [("re:fc", "mlp.fc"), ("re:fc", "fc1"), ("re:fc|", "x"), ("re:a|b", "ab"), (r"re:\d", "12"), ("re:^fc$", "fc\n"), ("re:.*", "a\nb")],
)
def test_no_part_of_a_key_is_enough(text, key):
    assert Pattern.parse(text).match(key) is None


def test_groups_are_captures_in_the_order_of_the_groups():
    pattern = Pattern.parse(r"re:(?P<z>a)(b)(?P<a>c)")
    assert list(pattern.captures.items()) == [("z", Capture("regex")), ("a", Capture("regex"))]
    assert not pattern.is_literal


@pytest.mark.parametrize("text", ["re:", "re:(", "re:a**", "re:(?P<n>", "re:[", "re:" + "a" * 1025, r"re:\1"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(RulesError) as caught:
        Pattern.parse(text)
    assert "regular expression" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_longest_allowed_expression_is_read():
    assert Pattern.parse("re:" + "a" * 1024).match("a" * 1024) == {}


def test_an_exponential_expression_is_stopped_and_named():
    with pytest.raises(RulesError, match=r"took over .* on the key aaaa") as caught:
        Pattern.parse("re:(a|aa)+(a|aa)+(a|aa)+[b]").match("a" * 3000)
    assert "(a+)+" in caught.value.hint


def test_an_overlong_key_is_refused_by_an_expression_and_not_by_other_patterns():
    key = "a" * 4097
    with pytest.raises(RulesError, match="4097 characters"):
        Pattern.parse("re:a*").match(key)
    assert Pattern.parse("re:a*").match(key[:-1]) == {}
    assert Pattern.parse("*").match(key) == {}


def test_the_regex_package_is_loaded_for_expressions_only():
    code = (
        "import sys; from ckpt_surgeon.keys.pattern import Pattern; from ckpt_surgeon.keys.template import Template;"
        "Pattern.parse('a.{i:int}.**').match('a.0'); Template.parse('{i+1}').expand({'i': '1'});"
        "heavy = {'regex', 'rapidfuzz', 'torch', 'numpy', 'yaml'};"
        "print(sorted(heavy & set(sys.modules))); Pattern.parse('re:a'); print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split("\n")[:2] == ["[]", "['regex']"]


MULTIPLYING = [
    r"(?:(?:x{200}){200}){200}",
    r"(?:x{9999}){9999}",
    r"(((((((a?){9}){9}){9}){9}){9}){9}){9}",
    r"(?:(?:x+y){9999}z){9999}",
    "(?x)(?:(?:x{2 0 0}) {2#\n00}){200}",
    "(?x)(?:(?:x{200}) #\n{#\n200}){200}",
    r"(?:(?:x{200})(?#){200}){200}",
    r"x{1000000}",
    "x{" + "9" * 500 + "}",
]
SMALL = {
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}": "2026-01-02",
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "01234567-89ab-cdef-0123-456789abcdef",
    r"(?:[a-z]{1,100}\.){1,100}w": "a.b.w",
    r"(?:x{300}){3}": "x" * 900,
    r"\p{L}{3}\{9}": "abc{9}",
    r"(?x) a {2} # twice": "aa",
}


@pytest.mark.parametrize("source", MULTIPLYING)
def test_counts_which_multiply_beyond_any_memory_are_refused_before_they_are_compiled(source):
    for make in (lambda: Pattern.parse(f"re:{source}"), lambda: Sub({source: "y"})):
        with pytest.raises(RulesError, match="counts repeat it"):
            make()


@pytest.mark.parametrize(("source", "key"), SMALL.items())
def test_counts_of_hand_written_expressions_are_read(source, key):
    assert Pattern.parse(f"re:{source}").match(key) == {}
    assert Sub({source: "y"}).edits([key], None) == [Move(key, "y")]


def test_many_large_expressions_are_stopped_as_one_huge_one_is_and_small_ones_never(monkeypatch):
    monkeypatch.setattr(regular, "_ROOM", regular._Room())
    large = [f"re:(?:many{number}){{10000}}" for number in range(9)]
    with pytest.raises(RulesError, match="those of all expressions together to more than 400000"):
        [Pattern.parse(text) for text in large]
    assert Pattern.parse(large[0]) == Pattern.parse(large[0])
    assert [Pattern.parse(f"re:(?:few{number}){{60}}").match(f"few{number}" * 60) for number in range(500)] == [{}] * 500
    assert Sub({large[0].removeprefix("re:"): "y"}) == Sub({large[0].removeprefix("re:"): "y"})
