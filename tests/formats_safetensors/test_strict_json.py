"""JSON which has one meaning is read; all else is refused, with its name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.strict_json import parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_plain_json_is_read_as_the_standard_library_reads_it(value, is_ascii):
    text = json.dumps(value, ensure_ascii=is_ascii)
    assert parse_json(text, "x") == parse_json(text.encode(), "x") == json.loads(text)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("text", ["{}", "[]", "1", '"a"', "null", ' {"a": [1, {"b": "\\ud83d\\ude00"}]} ', nested(32)])
def test_what_is_right_is_left_alone(text):
    assert parse_json(text, "x") == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("{} {}", "no valid JSON"),
        ("{'a': 1}", "no valid JSON"),
        ("[1,]", "no valid JSON"),
        ("// no comment\n1", "no valid JSON"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"x": {"b": 1, "c": 2, "b": 1}}', "'b' stands twice"),
        ('{"a": 1, "\\u0061": 2}', "'a' stands twice"),
        ("NaN", "NaN is no JSON number"),
        ("[Infinity]", "Infinity is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ("9" * 5000, "no valid JSON"),
        ("1e999", "1e999 is out of range"),
        ('{"a": [-1e400]}', "-1e400 is out of range"),
        (nested(33), "more than 32 levels"),
        (nested(200_000), "too deeply"),
        ('"\\ud800"', "half a surrogate pair"),
        ('{"\\udc00": 1}', "half a surrogate pair"),
        ('["ok", {"a": "\\ud800x"}]', "half a surrogate pair"),
        (b"\xff", "not UTF-8"),
        (b'{"a": "\xc3"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "no valid JSON"),
        ("\0", "no valid JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_has_no_one_meaning_is_refused_by_name(text, message):
    with pytest.raises(CorruptError, match=message) as caught:
        parse_json(text, "the header")
    assert str(caught.value).startswith("the header ")


def test_minus_zero_is_a_fraction():
    value = parse_json("[-0, 0, -1, -0.0, 1e2]", "x")
    assert (value, [type(number) for number in value]) == ([0, 0, -1, 0, 100], [float, int, int, float, float])


@pytest.mark.parametrize("item", ["[]", "{}", '""', "1"])
def test_a_text_of_very_many_values_is_refused_before_it_is_read(item):
    with pytest.raises(LimitError, match=r"the header holds some [24],000,00"):
        parse_json(f"[{','.join([item] * 2_000_001)}]", "the header")


def test_a_long_text_of_few_values_is_read():
    assert parse_json(f'{{"{"x" * 10_000_000}": 1}}', "x") == {"x" * 10_000_000: 1}
