"""`assert:` as it is read: each guard one word, each mistake at its place."""

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.guards import CountGuard, DtypeGuard, ShapeGuard
from ckpt_surgeon.rules.reader import parse_rules


def read(entry):
    return parse_rules(f"version: 1\nassert:\n  - {entry}\n", "f")


def test_guards_are_values():
    (count,) = read("count: {match: [a, 'b.*'], equals: 2}").guards
    assert isinstance(count, CountGuard)
    assert ([pattern.text for pattern in count.match], count.equals, count.where) == (["a", "b.*"], 2, "f:3:5")
    (shape,) = read("shape: {match: a, is: [1, null]}").guards
    assert isinstance(shape, ShapeGuard)
    assert shape.shape == (1, None)
    (dtype,) = read("dtype: {match: a, is: [float32, bfloat16]}").guards
    assert isinstance(dtype, DtypeGuard)
    assert dtype.dtypes == ("float32", "bfloat16")


REFUSED = {
    "finite": "f:3:5: a guard is a mapping; found 'finite'",
    "finte: {match: a}": "f:3:5: a guard: unknown word 'finte'.*Did you mean 'finite'",
    "{finite: {match: a}, count: {match: a, equals: 1}}": "f:3:5: a guard has one of these words",
    "why: because": "a guard has one of these words",
    "finite: a": "finite is a mapping",
    "finite: {}": "finite needs match",
    "finite: {match: a, at: 1}": "unknown word 'at'",
    "count: {match: a}": "f:3:5: assert: count needs one of equals, at_least, at_most",
    "count: {match: a, equals: many}": "count: equals is a whole number",
    "count: {match: 'a{', equals: 1}": "unbalanced",
    "shape: {match: a, is: 3}": "shape: is is 3; a list of sizes is wanted",
    "shape: {match: a, is: [-1]}": "a list of sizes is wanted",
    "shape: {match: a}": "shape needs is",
    "dtype: {match: a, is: flaot32}": "dtype: is is 'flaot32'; allowed: ",
    "coverage: {match: a, at_least: 99}": "it is a share from 0 to 1",
    "equal: {source: a}": "equal: source is a list of two patterns",
    "equal: {source: ['{k}.a', b]}": "capture the same names",
}


@pytest.mark.parametrize(("entry", "says"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_guard_is_refused_where_it_stands(entry, says):
    with pytest.raises(RulesError, match=f"(?s){says}") as caught:
        read(entry)
    assert all(problem.where.startswith("f:3:") for problem in caught.value.problems)


def test_assert_is_a_list():
    with pytest.raises(RulesError, match="f:2:9: assert is a list; found a mapping"):
        parse_rules("version: 1\nassert: {finite: {match: a}}\n", "f")
