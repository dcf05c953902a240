import pytest

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model import parse_arguments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("101", 101),
        ("-3", -3),
        ("1e-3", 0.001),
        ("0.5", 0.5),
        ("true", True),
        ("True", True),
        ("false", False),
        ("none", None),
        ("None", None),
        ("null", None),
        ("~", None),
        ("[3, 4, 6, 3]", [3, 4, 6, 3]),
        ('{"a": 1}', {"a": 1}),
        ('"12"', "12"),
        ("Flow", "Flow"),
        ("", ""),
        ("a=b", "a=b"),
        # what JSON does not know stays text, and nothing is guessed
        ("01", "01"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("yes", "yes"),
        ("TRUE", "TRUE"),
        ("[3, 4", "[3, 4"),
        ("1_000", "1_000"),
        ("9" * 5000, "9" * 5000),
        ("[" * 200_000, "[" * 200_000),
    ],
)
def test_a_value_reads_as_json_or_stays_text(text: str, value: object) -> None:
    found = parse_arguments([f"name={text}"])["name"]
    assert found == value
    assert type(found) is type(value)


def test_several_pairs_keep_their_order() -> None:
    assert list(parse_arguments(["b=1", "a=2"])) == ["b", "a"]
    assert parse_arguments([]) == {}


@pytest.mark.parametrize("pair", ["classes", "=3", "num classes=3", "1a=3", "a.b=3", ""])
def test_a_pair_which_names_no_argument_is_refused(pair: str) -> None:
    with pytest.raises(ModelError, match="name=value"):
        parse_arguments([pair])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="'classes' is given twice"):
        parse_arguments(["classes=1", "classes=1"])
