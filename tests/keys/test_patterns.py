"""Patterns: what each form matches and captures, and beside it what it must not match."""

import copy
import pickle

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.keys.syntax import MAX_LENGTH, Capture

MATCHES = [
    # a literal key
    ("layer1.0.conv1.weight", "layer1.0.conv1.weight", {}),
    ("fc", "fc", {}),
    ("a..b", "a..b", {}),
    ("with blank.and-dash", "with blank.and-dash", {}),
    # one star: a run without a dot, none included
    ("bn*.weight", "bn1.weight", {}),
    ("bn*.weight", "bn.weight", {}),
    ("*.weight", "fc.weight", {}),
    ("*", "fc", {}),
    ("*", "", {}),
    ("*norm*", "final_norm_2", {}),
    ("*norm*", "norm", {}),
    ("a*a*a", "aaa", {}),
    ("a*a*a", "a1a2a", {}),
    # two stars: any number of segments, none included
    ("**", "a.b.c", {}),
    ("**", "", {}),
    ("**.weight", "weight", {}),
    ("**.weight", "a.b.weight", {}),
    ("new_fc.**", "new_fc", {}),
    ("new_fc.**", "new_fc.0.weight", {}),
    ("a.**.b", "a.b", {}),
    ("a.**.b", "a.x.y.b", {}),
    ("**.norm.**", "norm", {}),
    ("**.norm.**", "a.norm.norm.b", {}),
    ("**.**", "a.b", {}),
    # a capture: a run of at least one character without a dot
    ("{name}.weight", "fc.weight", {"name": "fc"}),
    ("a.{x}_proj.b", "a.q_proj.b", {"x": "q"}),
    ("{a}_{b}", "x_y_z", {"a": "x", "b": "y_z"}),
    ("{kind}{i:int}", "conv12", {"kind": "conv", "i": "12"}),
    # a number
    ("h.{i:int}.w", "h.0.w", {"i": "0"}),
    ("h.{i:int}.w", "h.007.w", {"i": "007"}),
    ("encoder_layer_{i:int}.w", "encoder_layer_11.w", {"i": "11"}),
    ("l{i:int}2", "l122", {"i": "12"}),
    ("{i:int}_{j:int}", "3_14", {"i": "3", "j": "14"}),
    # a path
    ("{p:path}.weight", "weight", {"p": ""}),
    ("{p:path}.weight", "a.b.weight", {"p": "a.b"}),
    ("a.{p:path}.b", "a.b", {"p": ""}),
    ("a.{p:path}", "a", {"p": ""}),
    ("{p:path}", "a.b", {"p": "a.b"}),
    # alternatives
    ("{x:q|k|v}.w", "k.w", {"x": "k"}),
    ("fc.{weight|bias}", "fc.bias", {}),
    ("a.{x:query|key}_{w|b}", "a.key_b", {"x": "key"}),
    ("{x:a|ab}c", "abc", {"x": "ab"}),
    ("{x:a|ab}*", "abc", {"x": "a"}),
    # several paths: the leftmost as short as possible
    ("{a:path}.x.{b:path}", "1.x.2.x.3", {"a": "1", "b": "2.x.3"}),
    ("{a:path}.{b:path}", "1.2", {"a": "", "b": "1.2"}),
    ("{a:path}.n.{b:path}.n.{c:path}", "n.n.n", {"a": "", "b": "", "c": "n"}),
    ("**.{i:int}.{rest:path}", "a.0.b.1.c", {"i": "0", "rest": "b.1.c"}),
    # signs of regular expressions are plain characters
    ("a+b.c", "a+b.c", {}),
    ("(a|b).*", "(a|b).x", {}),
    (r"\d.{x}$", r"\d.1$", {"x": "1"}),
    ("[ab].*", "[ab].x", {}),
    # any characters may stand in a key
    ("{x}.w", "a\nb.w", {"x": "a\nb"}),
    ("*.w", "\u202e\x00\ud800.w", {}),
    ("{x}.w", "層.w", {"x": "層"}),
]

MISSES = [
    ("conv1.weight", "a.conv1.weight"),
    ("conv1.weight", "conv1.weight.x"),
    ("conv1.weight", "conv1.weights"),
    ("conv1.weight", "conv1xweight"),
    ("fc", "mlp.fc"),
    ("fc", "fc1"),
    ("fc", "fc."),
    ("fc", ".fc"),
    ("fc", ""),
    ("Fc", "fc"),
    ("*", "a.b"),
    ("*.weight", "weight"),
    ("*.weight", "a.b.weight"),
    ("bn*.weight", "bn.1.weight"),
    ("bn*.weight", "xbn1.weight"),
    ("**.weight", "a.weight.b"),
    ("**.weight", "aweight"),
    ("**.weight", "a.xweight"),
    ("a.**", "ab"),
    ("a.**", "b.a"),
    ("a.**.b", "a"),
    ("a.**.b", "a.xb"),
    ("{x}", ""),
    ("{x}", "a.b"),
    ("bn{x}", "bn"),
    ("h.{i:int}", "h.a"),
    ("h.{i:int}", "h."),
    ("h.{i:int}", "h.-1"),
    ("h.{i:int}", "h.1a"),
    ("h.{i:int}", "h.१"),
    ("h.{i:int}", "h.1.0"),
    ("{x:q|k|v}", "o"),
    ("{x:q|k|v}", "qk"),
    ("{w|b}", "w|b"),
    ("a+b", "aab"),
    ("a.b*", "axb"),
    ("(a|b).*", "a.x"),
]


@pytest.mark.parametrize(("text", "key", "captures"), MATCHES)
def test_a_whole_key_is_matched_and_captured_as_written(text, key, captures):
    assert Pattern.parse(text).match(key) == captures


@pytest.mark.parametrize(("text", "key"), MISSES)
def test_nothing_less_or_more_than_the_whole_key_is_matched(text, key):
    assert Pattern.parse(text).match(key) is None


BAD = [
    ("", "empty"),
    ("a{", "unbalanced '{' at character 2"),
    ("a}", "unbalanced '}' at character 2"),
    ("{a{b}}", "unbalanced '{' at character 3"),
    ("{a}}", "unbalanced '}'"),
    ("***", "'***' is no wildcard"),
    ("a.****.b", "is no wildcard"),
    ("a**", "whole segments"),
    ("**a.b", "whole segments"),
    ("a.x{p:path}", "whole segments"),
    ("{p:path}{i:int}", "whole segments"),
    ("{}", "no name"),
    ("{:int}", "no name"),
    ("{1a}", "no name"),
    ("{a b}", "no name"),
    ("{a-b}", "no name"),
    ("{é}", "no name"),
    ("{" + "n" * 65 + "}", "no name"),
    ("{i:integer}", "unknown type 'integer'"),
    ("{i:}", "unknown type ''"),
    ("{i:INT}", "unknown type 'INT'"),
    ("{x:one}", "unknown type 'one'"),
    ("{i:int}.{i:int}", "'i' is captured twice"),
    ("{i}.{i:path}", "'i' is captured twice"),
    ("{x:q|}", "'' cannot be an alternative"),
    ("{|q}", "'' cannot be an alternative"),
    ("{x:q| k}", "' k' cannot be an alternative"),
    ("{a.b|c}", "'a.b' cannot be an alternative"),
    ("{a*|c}", "'a*' cannot be an alternative"),
    ("{a|b|a}", "twice"),
    ("{a}{b}", "side by side"),
    ("{a}*", "side by side"),
    ("*{a}.x", "side by side"),
    ("{i:int}{j:int}", "side by side"),
    ("{a:int}-{b:int}-{c:int}-{d:int}-{e:int}", "more than 4"),
    ("x" * (MAX_LENGTH + 1), f"{MAX_LENGTH + 1} characters"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_what_is_no_pattern_is_refused_with_what_is_wrong(text, says):
    with pytest.raises(RulesError) as caught:
        Pattern.parse(text)
    assert says in str(caught.value)
    assert [problem.where for problem in caught.value.problems] == [""]


@pytest.mark.parametrize("text", ["a{", "***", "a**", "{i:integer}", "{i}.{i}", "{x:q|}", "{a}{b}", ""])
def test_a_refusal_says_what_to_do(text):
    with pytest.raises(RulesError) as caught:
        Pattern.parse(text)
    assert caught.value.hint


def test_what_is_next_to_a_refused_form_is_a_pattern():
    for text in ("{a}.{b}", "{a}-*", "{a}{i:int}", "{i:int}{a}", "{i:int}-{j:int}", "**.*.**", "{int}", "x" * MAX_LENGTH):
        assert Pattern.parse(text).text == text


def test_captures_tell_their_kind_and_order():
    pattern = Pattern.parse("{p:path}.{i:int}.{x:q|k}.{leaf}.{w|b}")
    assert pattern.names == ("p", "i", "x", "leaf")
    assert dict(pattern.captures) == {
        "p": Capture("path"),
        "i": Capture("int"),
        "x": Capture("alternatives", ("q", "k")),
        "leaf": Capture("text"),
    }


@pytest.mark.parametrize(
    ("text", "is_literal"), [("a.b", True), ("a", True), ("a.*", False), ("{a}", False), ("**", False), ("re:a", False)]
)
def test_a_literal_is_known_as_one(text, is_literal):
    assert Pattern.parse(text).is_literal is is_literal


def test_patterns_are_values():
    pattern = Pattern.parse("{a}.{i:int}")
    assert pattern == Pattern.parse("{a}.{i:int}")
    assert pattern != Pattern.parse("{b}.{i:int}")
    assert len({pattern, Pattern.parse("{a}.{i:int}")}) == 1
    assert str(pattern) == "{a}.{i:int}"
    for twin in (pickle.loads(pickle.dumps(pattern)), copy.deepcopy(pattern)):
        assert twin == pattern
        assert twin.match("x.3") == {"a": "x", "i": "3"}
    with pytest.raises(AttributeError):
        pattern.text = "b"
    with pytest.raises(TypeError):
        pattern.captures["c"] = Capture("int")


@pytest.mark.parametrize("key", ["a.b", "a.*.b", "{x}", "re:a", "**", "a}b", "a\nb.*", "", "a+{b}(c)"])
def test_a_quoted_key_matches_itself_and_nothing_like_it(key):
    pattern = Pattern.parse(quoted(key))
    assert pattern.match(key) == {}
    assert pattern.match(key + "x") is None
    assert pattern.match("x" + key) is None


HOSTILE = [
    ("**.a.**.a.**.a.**.a.**.c", "a." * 20_000 + "b"),
    ("{p:path}.a.{q:path}.a.{r:path}.b", "a." * 20_000 + "c"),
    ("*a*a*a*a*a*a*b", "a" * 20_000),
    ("{x}a*a*a*a*b", "a" * 20_000),
    ("{a|aa}{a|aa}{a|aa}{a|aa}b", "a" * 20_000),
    ("{i:int}0{j:int}0*x", "0" * 300),
    (".".join(["{a|aa}{b|bb}*{c|cc}"] * 100), ".".join(["aabbcc"] * 99) + ".x"),
]


def test_a_key_which_is_far_too_long_is_refused_where_matching_it_would_cost():
    assert Pattern.parse("**.z").match("." * 60_000 + "z.") is None
    assert Pattern.parse("a.z").match("." * 10_000_000) is None
    with pytest.raises(RulesError, match="10000000 characters; at most 65536"):
        Pattern.parse("**.z").match("." * 9_999_998 + "z.")


@pytest.mark.parametrize(("text", "key"), HOSTILE)
def test_a_hostile_key_comes_to_an_end(text, key):
    assert Pattern.parse(text).match(key) is None  # one which tries every way would not, within a lifetime
