"""Templates: captures put back as written, arithmetic on numbers, and what is refused."""

import copy
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.syntax import Capture
from ckpt_surgeon.keys.template import Template

EXPANSIONS = [
    ("a.b", {}, "a.b"),
    ("a.b", {"unused": "x"}, "a.b"),
    ("{x}", {"x": "fc"}, "fc"),
    ("a.{x}_proj.{leaf}", {"x": "q", "leaf": "bias"}, "a.q_proj.bias"),
    ("{x}.{x}", {"x": "a"}, "a.a"),
    ("{x}{y}", {"x": "a", "y": "b"}, "ab"),
    ("h.{i}", {"i": "007"}, "h.007"),
    # an empty path takes its dot away
    ("a.{p}.b", {"p": ""}, "a.b"),
    ("{p}.b", {"p": ""}, "b"),
    ("a.{p}", {"p": ""}, "a"),
    ("{p}.{q}.b", {"p": "", "q": ""}, "b"),
    ("a.{p}.b", {"p": "x.y"}, "a.x.y.b"),
    ("a.x{p}.b", {"p": ""}, "a.x.b"),
    # arithmetic
    ("{i+1}", {"i": "9"}, "10"),
    ("{i-1}", {"i": "1"}, "0"),
    ("{i//2}.{i%2}", {"i": "7"}, "3.1"),
    ("{a*2+b}", {"a": "3", "b": "1"}, "7"),
    ("{(a+1)*2}", {"a": "3"}, "8"),
    ("{a+1*2}", {"a": "3"}, "5"),
    ("{ i + 1 }", {"i": "1"}, "2"),
    ("{10-i}", {"i": "3"}, "7"),
    ("{i-i-1+2}", {"i": "3"}, "1"),
    ("{i+1}", {"i": "007"}, "8"),
    ("l{i+1}_{i}", {"i": "0"}, "l1_0"),
    ("{i+1}", {"i": "9" * 18}, "1" + "0" * 18),
    # a typed capture is put in as any other
    ("q.{e:int}", {"e": "2"}, "q.2"),
    ("{x:q|k}.w", {"x": "k"}, "k.w"),
    ("{e:int}.{e}.{e+1}", {"e": "2"}, "2.2.3"),
]


@pytest.mark.parametrize(("text", "captures", "name"), EXPANSIONS)
def test_captures_are_put_back(text, captures, name):
    assert Template.parse(text).expand(captures) == name


FAILURES = [
    ("{x}", {}, "'x' is not captured"),
    ("{x}.{y}", {"x": "a"}, "'y' is not captured"),
    ("{i-1}", {"i": "0"}, "{i-1} is -1 for i = 0"),
    ("{a-b}", {"a": "1", "b": "3"}, "is -2 for a = 1, b = 3"),
    ("{1-2}", {}, "is -1 for any key"),
    ("{4//i}", {"i": "0"}, "divides by zero for i = 0"),
    ("{4%i}", {"i": "0"}, "divides by zero"),
    ("{i+1}", {"i": "a"}, "'i' is 'a', no number"),
    ("{i+1}", {"i": "-1"}, "no number"),
    ("{i+1}", {"i": ""}, "no number"),
    ("{i+1}", {"i": "²"}, "no number"),
    ("{i+1}", {"i": "1" * 19}, "more than 18 digits"),
    ("{p}", {"p": ""}, "an empty name"),
    ("{p}.{q}", {"p": "", "q": ""}, "an empty name"),
]


@pytest.mark.parametrize(("text", "captures", "says"), FAILURES)
def test_what_gives_no_name_is_refused_and_the_template_named(text, captures, says):
    with pytest.raises(RulesError) as caught:
        Template.parse(text).expand(captures)
    assert says in str(caught.value)
    assert repr(text) in str(caught.value)


BAD = [
    ("", "empty"),
    ("a{", "unbalanced"),
    ("a}", "unbalanced"),
    ("{}", "neither a name nor arithmetic"),
    ("a.*", "no wildcards"),
    ("a.**.b", "no wildcards"),
    ("re:a", "no pattern"),
    ("{a|b}", "need a name"),
    ("{x:str}", "unknown type 'str'"),
    ("{x:q|}", "cannot be an alternative"),
    ("{e:int}.{e:path}", "two types"),
    ("{i/2}", "'i / 2' is not allowed"),
    ("{i**2}", "is not allowed"),
    ("{-i}", "is not allowed"),
    ("{+i}", "is not allowed"),
    ("{i(1)}", "is not allowed"),
    ("{i>>1}", "neither a name nor arithmetic"),
    ("{i.real}", "neither a name nor arithmetic"),
    ("{i[0]}", "neither a name nor arithmetic"),
    ("{i if i else 2}", "is not allowed"),
    ("{not i}", "is not allowed"),
    ("{i or 1}", "is not allowed"),
    ("{lambda}", None),
    ("{lambda+1}", "neither a name nor arithmetic"),
    ("{i+}", "neither a name nor arithmetic"),
    ("{1if i else 2}", "neither a name nor arithmetic"),
    ("{0x10+i}", "neither a name nor arithmetic"),
    ("{1.5*i}", "neither a name nor arithmetic"),
    ("{'a'+i}", "neither a name nor arithmetic"),
    ("{i+" + "9" * 19 + "}", "is not allowed"),
    ("{" + "(" * 40 + "i" + ")" * 40 + "}", "neither a name nor arithmetic"),
    ("{" + "i+" * 40 + "i}", "neither a name nor arithmetic"),
    ("{__import__(i)}", "is not allowed"),
]


@pytest.mark.parametrize(("text", "says"), [case for case in BAD if case[1]])
def test_what_is_no_template_is_refused(text, says):
    with pytest.raises(RulesError) as caught:
        Template.parse(text)
    assert says in str(caught.value)


def test_a_word_of_the_language_is_a_name_like_any_other():
    assert Template.parse("{lambda}").expand({"lambda": "x"}) == "x"


def test_a_long_run_of_one_kind_is_refused_at_once():
    for text in ("{" + "a" * 3000 + "!}", "{" + "1" * 3000 + "!}", "{" + "(" * 3000 + "}"):
        with pytest.raises(RulesError):
            Template.parse(text)


def test_a_template_tells_what_it_needs():
    template = Template.parse("{p}.{i+j}.{x:q|k}.{i}")
    assert template.names == ("p", "i", "j", "x")
    assert dict(template.typed) == {"x": Capture("alternatives", ("q", "k"))}
    assert template.counted == {"i", "j"}
    assert Template.parse("a.b").names == ()


def test_templates_are_values():
    template = Template.parse("{a}.{i+1}")
    assert template == Template.parse("{a}.{i+1}")
    assert template != Template.parse("{a}.{i+2}")
    assert str(template) == "{a}.{i+1}"
    for twin in (pickle.loads(pickle.dumps(template)), copy.deepcopy(template)):
        assert twin == template
        assert twin.expand({"a": "x", "i": "1"}) == "x.2"
    with pytest.raises(AttributeError):
        template.text = "b"


INT, TEXT, PATH, QK, REGEX = Capture("int"), Capture("text"), Capture("path"), Capture("alternatives", ("q", "k")), Capture("regex")

FITTING = [
    ("a.b", {}),
    ("{x}", {"x": TEXT}),
    ("{i+1}", {"i": INT}),
    ("{i+1}", {"i": REGEX}),
    ("{e:int}", {}),
    ("{e:int}", {"e": INT}),
    ("{x:q|k}", {"x": QK}),
    ("{e:int}.{e+1}", {}),
    ("{p}", {"p": PATH, "other": INT}),
]
UNFIT = [
    ("{x}", {}, "'x' is not captured by the source"),
    ("{x}", {"y": TEXT}, "'x' is not captured by the source"),
    ("{i+1}", {"i": TEXT}, "'i' is no number"),
    ("{i+1}", {"i": PATH}, "'i' is no number"),
    ("{i+1}", {"i": QK}, "'i' is no number"),
    ("{e:int}", {"e": TEXT}, "'e' is int here and text in the source"),
    ("{x:q|k}", {"x": Capture("alternatives", ("k", "q"))}, "'x' is q|k here and k|q in the source"),
    ("{x:q|k}.{x+1}", {}, "'x' is no number"),
]


@pytest.mark.parametrize(("text", "captures"), FITTING)
def test_a_template_fits_what_its_source_captures(text, captures):
    Template.parse(text).check(captures)


@pytest.mark.parametrize(("text", "captures", "says"), UNFIT)
def test_a_template_which_does_not_fit_is_refused_before_any_key_is_seen(text, captures, says):
    with pytest.raises(RulesError) as caught:
        Template.parse(text).check(captures)
    assert says in str(caught.value)
    assert caught.value.hint


PARTS = st.sampled_from(["{x}", "{y}", "a", "{i+1}", "b{x}", "{x}{y}", "w", "{1+1}", "é"])
VALUES = st.sampled_from(["", "q", "7", "a.b", "{x}", "}"])


@given(st.lists(PARTS, min_size=1, max_size=4).map(".".join), VALUES, VALUES)
def test_the_quick_way_makes_the_name_which_the_slow_one_makes(text, x, y):
    template, captures = Template.parse(text), {"x": x, "y": y, "i": "3"}
    assert outcome(template, captures) == outcome(replace(template, _format=""), captures)


def test_the_quick_way_is_taken_unless_a_capture_is_empty_or_counted():
    assert Template.parse("a.{x}.{y}b")._format == "a.{x}.{y}b"
    assert Template.parse("a.{x+1}")._format == Template.parse("{1+1}.a")._format == ""


def outcome(template, captures):
    """The name, or what is said instead."""
    try:
        return template.expand(captures)
    except RulesError as error:
        return str(error)
