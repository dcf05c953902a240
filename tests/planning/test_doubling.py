"""Rules which run on their own output: doubled prefixes are noted, other renames are not."""

import pytest
from planned import header, planned

KEYS = header(encoder__a=(2,), encoder__b=(2,), c=(3,))
DOUBLED = "rules[0].{op}: {op}: 2 of 3 keys bear the prefix encoder. already: encoder.encoder.a ... would result"


@pytest.mark.parametrize(
    "rule",
    [
        {"rename": {"{p:path}": "encoder.{p}"}},
        {"add_prefix": "encoder."},
        {"sub": {"^": "encoder."}},
    ],
)
def test_a_prefix_which_is_there_already_is_noted(rule):
    (op,) = rule
    assert DOUBLED.format(op=op) in planned([rule], KEYS).notes


@pytest.mark.parametrize(
    "rule",
    [
        {"add_prefix": {"prefix": "encoder.", "match": "c"}},
        {"add_prefix": "model."},
        {"add_prefix": "enc"},
        {"rename": {"encoder.{p}": "encoder.x.{p}"}},
        {"rename": {"encoder.a": "encoder.b", "encoder.b": "encoder.a"}},
        {"strip_prefix": "encoder."},
        {"copy": {"encoder.a": "encoder.encoder.a"}},
    ],
)
def test_other_names_are_not(rule):
    assert not [note for note in planned([rule], KEYS).notes if "already" in note]


def test_names_which_the_target_wants_are_not():
    target = header(encoder__encoder__a=(2,))
    plan = planned([{"align_names": {"prefixes": ["encoder."]}}], header(encoder__a=(2,)), target)
    assert not plan.notes


def test_each_prefix_is_noted_with_its_number():
    rule = {"rename": {"a.{p}": "a.a.{p}", "b.{p}": "b.b.{p}", "c": "d.c"}}
    notes = planned([rule], header(a__x=(1,), b__x=(1,), b__y=(1,), c=(1,))).notes
    assert [note.rpartition("rename: ")[2] for note in notes] == [
        "1 of 4 keys bear the prefix a. already: a.a.x would result",
        "2 of 4 keys bear the prefix b. already: b.b.x ... would result",
    ]
