"""What is left over on both sides: of the same shapes it is a question; what no way takes is left out by a rule."""

import pytest

import ckpt_surgeon as surgeon
from ckpt_surgeon import Header, TensorSpec
from ckpt_surgeon.mapping.links import Family, Link, Mapping
from ckpt_surgeon.mapping.writing import Suggestion, written


def header(**shapes: tuple[int, ...]) -> Header:
    return Header({key.replace("__", "."): TensorSpec.of("float32", *shape) for key, shape in shapes.items()})


def test_a_block_too_many_is_dropped():
    source, target = header(n__0__w=(8, 8), n__1__w=(8, 8), n__2__w=(8, 8)), header(n__0__w=(8, 8), n__1__w=(8, 8))
    found = surgeon.suggestion(source, target)
    assert found.unused == ("n.2.w",)
    assert found.is_settled
    assert surgeon.diff(source, target, found.rules).same


def test_the_twin_of_what_is_settled_is_dropped():
    source, target = header(model__w__a=(8,), model_ema__w__a=(8,)), header(w__a=(8,))
    found = surgeon.suggestion(source, target)
    assert found.unused == ("model_ema.w.a",)
    assert surgeon.diff(source, target, found.rules).same


KNOWN = {"stem__weight": (4, 3, 3, 3), "stem__bias": (4,)}
STEM = Family(tuple(Link((key,), (key,)) for key in ("stem.weight", "stem.bias")), 1.0, "the same")


def said(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[Header, Header, Suggestion]:
    """What is written where only the stem is matched."""
    source, target = header(**KNOWN, tail__quux=ours), header(**KNOWN, other__0__zip__xyzzy=theirs)
    return source, target, written(Mapping((STEM,), ("other.0.zip.xyzzy",), ("tail.quux",)), source, target, 0.9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((7, 5), (7, 5)), ((7, 5), (5, 7)), ((7, 5), (7, 1, 5)), ((6, 7, 5), (7, 5)), ((7, 5), (6, 7, 5))],
    ids=["the same", "turned", "but for a 1", "one of a stack", "a stack"],
)
def test_keys_of_the_same_shapes_on_both_sides_are_asked_about(ours, theirs):
    source, target, found = said(ours, theirs)
    assert not found.is_settled
    assert found.open_targets == ("other.0.zip.xyzzy",)
    assert "tail.quux" in found.text
    assert list(surgeon.diff(source, target, found.rules).missing) == ["other.0.zip.xyzzy"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((7, 5), (9, 5)), ((5,), (7, 5)), ((), ()), ((1,), ()), ((11,), (11,)), ((2, 6, 7, 5), (7, 5))],
    ids=["other classes", "a row of it", "numbers alone", "one number", "a lone vector", "deeper than a stack"],
)
def test_keys_of_other_shapes_are_new_and_not_asked_about(ours, theirs):
    _, _, found = said(ours, theirs)
    assert found.is_settled
    assert (found.missing, found.unused) == (("other.0.zip.xyzzy",), ("tail.quux",))


def test_two_vectors_are_no_chance():
    source = header(**KNOWN, old__scale=(11,), old__shift=(11,))
    target = header(**KNOWN, new__one=(11,), new__other=(11,))
    found = written(Mapping((STEM,)), source, target, 0.9)
    assert found.open_targets == ("new.one", "new.other")


def test_where_nothing_is_matched_all_is_asked_about():
    source, target = header(a__weight=(3, 4)), header(b__one=(50,), b__two=(60, 2))
    found = surgeon.suggestion(source, target)
    assert not found.is_settled
    assert found.open_targets == ("b.one", "b.two")
    assert "not one key of the source is matched" in found.text


def test_a_model_without_any_key_asks_for_nothing():
    found = surgeon.suggestion(header(a__weight=(3, 4)), Header({}))
    assert found.is_settled
    assert found.unused == ("a.weight",)
