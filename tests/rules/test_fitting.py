"""What a rule gives for a field, against the field's type."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional

import jsonschema
import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.fitting import fitted, misfits
from ckpt_surgeon.rules.type_schemas import schema_of_type

FITS: list[tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (float, 3, 3.0),
    (float, 0.5, 0.5),
    (str, "", ""),
    (bool, True, True),
    (None | int, None, None),
    (Optional[int], 3, 3),  # noqa: UP045
    (Literal["a"], "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (tuple[int, ...], [], ()),
    (tuple[int, int], [1, 2], (1, 2)),
    (list[str], ["a"], ("a",)),
    (Sequence[tuple[float, ...]], [[1], [2.5]], ((1.0,), (2.5,))),
    (dict[str, tuple[int, ...]], {"a": [1]}, {"a": (1,)}),
    (Mapping[str, int | None] | int, {"a": None}, {"a": None}),
]
WRONG: list[tuple[Any, Any, list[tuple[str | int, ...]]]] = [
    (int, True, [()]),
    (int, 1.0, [()]),
    (int, "1", [()]),
    (int, None, [()]),
    (float, False, [()]),
    (float, "1", [()]),
    (str, 1, [()]),
    (bool, 1, [()]),
    (Literal["a"], "b", [()]),
    (Literal["a", "b"], 1, [()]),
    (tuple[int, ...], "12", [()]),
    (tuple[int, ...], [1, "2", None], [(1,), (2,)]),
    (tuple[int, int], [1], [()]),
    (tuple[int, int], [1, 2, 3], [()]),
    (tuple[int, int], [1, "2"], [(1,)]),
    (Mapping[str, int], [1], [()]),
    (Mapping[str, int], {"a": "b", "c": 1}, [("a",)]),
    (tuple[int, ...] | Literal["target"], "source", [(), ()]),
    (int | tuple[tuple[int, ...], ...], [[1], ["2"]], [(), (1, 0)]),
]


@pytest.mark.parametrize(("kind", "value", "held"), FITS)
def test_a_value_which_fits_is_held_as_plain_and_frozen(kind, value, held):
    schema = schema_of_type(kind, "op: field")
    assert misfits(value, schema) == []
    assert repr(fitted(value, schema)) == repr(held)
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize(("kind", "value", "places"), WRONG)
def test_a_value_which_does_not_fit_is_told_where(kind, value, places):
    schema = schema_of_type(kind, "op: field")
    assert misfits(value, schema) == places
    if (kind, value) != (int, 1.0):  # JSON has one kind of numbers
        assert not jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("kind", [object, complex, Any, set[int], tuple, dict[int, str], Literal[1], int | bytes])
def test_a_type_which_no_rules_file_can_give_is_refused(kind):
    with pytest.raises(RulesError, match=r"op: field has the type .*, which no rules file can give"):
        schema_of_type(kind, "op: field")
