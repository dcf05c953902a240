"""Two headers side by side: what is missing, unexpected, mismatched, matched, cast; coverage; guesses."""

import pytest

from ckpt_surgeon.comparison import Outcome, compare, coverage_of
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.spec import Header, Opaque, TensorSpec


def header(entries: dict, **fields) -> Header:
    return Header(
        {key: TensorSpec.of("float32", *value) if isinstance(value, tuple) else value for key, value in entries.items()}, **fields
    )


TARGET = header({"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4,)})
I64 = TensorSpec.of("int64")

CASES = [
    ("the same", {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4,)}, [], [], []),
    ("one missing", {"a.weight": (2, 3), "a.bias": (2,)}, ["b.weight"], [], []),
    ("one unexpected", {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4,), "c": (1,)}, [], ["c"], []),
    ("one mismatched", {"a.weight": (3, 2), "a.bias": (2,), "b.weight": (4,)}, [], [], ["a.weight"]),
    ("of another rank", {"a.weight": (2, 3, 1), "a.bias": (2,), "b.weight": (4,)}, [], [], ["a.weight"]),
    ("nothing in common", {"x": (1,)}, ["a.weight", "a.bias", "b.weight"], ["x"], []),
    ("an opaque entry where a tensor should be", {"a.weight": Opaque("dict"), "a.bias": (2,), "b.weight": (4,)}, [], [], ["a.weight"]),
]


@pytest.mark.parametrize(("source", "missing", "unexpected", "mismatched"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_difference_is_of_one_kind(source, missing, unexpected, mismatched):
    diff = compare(header(source), TARGET)
    assert (list(diff.missing), list(diff.unexpected), list(diff.mismatched)) == (missing, unexpected, mismatched)
    assert diff.same is not bool(missing or unexpected or mismatched)
    assert set(diff.matched) == set(TARGET.entries) - set(missing) - set(mismatched)


def test_allowed_differences_are_listed_apart_and_make_no_difference():
    diff = compare(
        header({"a.weight": (2, 3), "a.bias": (2,), "c": (1,)}),
        TARGET,
        allow_missing=[Pattern.parse("b.**")],
        allow_unexpected=[Pattern.parse("c")],
    )
    assert diff.same
    assert diff.allowed == ("b.weight", "c")
    assert diff.coverage == 1.0


def test_coverage_counts_elements_and_keys():
    diff = compare(header({"a.weight": (2, 3), "a.bias": (3,)}), TARGET)
    assert diff.coverage == 6 / 12
    assert diff.coverage_keys == 1 / 3


def test_tied_keys_count_once_and_a_tie_to_a_match_is_a_match():
    target = header({"embed": (4, 2), "head": (4, 2), "b": (8,)}, aliases={"head": "embed"})
    diff = compare(header({"embed": (4, 2)}), target)
    assert diff.matched == ("embed", "head")
    assert list(diff.missing) == ["b"]
    assert diff.coverage == 0.5


def test_the_second_name_of_a_tie_loads_the_first():
    target = header({"embed": (4, 2), "head": (4, 2)}, aliases={"head": "embed"})
    diff = compare(header({"head": (4, 2)}), target)
    assert diff.same
    assert diff.coverage == 1.0


TIED = header({"embed": (4, 2), "head": (4, 2), "b": (8,)}, aliases={"head": "embed"})


def test_a_tie_to_a_mismatch_is_a_mismatch_and_covers_nothing():
    diff = compare(header({"embed": (2, 4), "b": (8,)}), TIED)
    assert list(diff.mismatched) == ["embed", "head"]
    assert (diff.matched, diff.coverage, diff.coverage_keys) == (("b",), 0.5, 0.5)


def test_a_tie_to_new_values_covers_nothing():
    diff = compare(header({"embed": (4, 2), "b": (8,)}), TIED, new=["embed"])
    assert diff.same
    assert (diff.matched, diff.coverage) == (("embed", "head", "b"), 0.5)


def test_of_three_tied_names_one_which_fits_is_enough():
    target = header({"x": (4,), "y": (4,), "z": (4,)}, aliases={"y": "x", "z": "x"})
    diff = compare(header({"x": (2,), "y": (4,)}), target)
    assert (list(diff.mismatched), diff.matched, diff.coverage) == (["x"], ("y", "z"), 1.0)


def test_tied_names_of_which_none_is_there_are_all_missing():
    diff = compare(header({"b": (8,)}), TIED)
    assert list(diff.missing) == ["embed", "head"]
    assert compare(header({"b": (8,)}), TIED, allow_missing=[Pattern.parse("embed")]).allowed == ("embed",)


def test_coverage_of_an_empty_target_is_whole():
    assert coverage_of(header({}), []).by_elements == 1.0


def test_casts_are_listed_and_are_no_difference():
    source = {"a.weight": TensorSpec.of("float16", 2, 3), "a.bias": (2,), "b.weight": (4,)}
    diff = compare(header(source), TARGET)
    assert diff.same
    assert {key: (str(found), str(wanted)) for key, (found, wanted) in diff.casts.items()} == {"a.weight": ("f16", "f32")}


def test_one_and_none_match_with_a_note():
    diff = compare(header({"n": (1,)}), header({"n": ()}))
    assert diff.same
    assert len(diff.notes) == 1


def test_a_counter_which_torch_fills_is_not_missing():
    target = header({"bn.running_mean": (2,), "bn.num_batches_tracked": I64})
    assert compare(header({"bn.running_mean": (2,)}), target).filled == ("bn.num_batches_tracked",)
    assert list(compare(header({"x": (2,)}), target).missing) == ["bn.running_mean", "bn.num_batches_tracked"]


WRAPPERS = [
    ("a prefix", ["module.a.weight", "module.a.bias", "module.b.weight"], ("module",), (), 3),
    ("a segment inside", ["a.net.weight", "a.net.bias", "b.weight"], (), ("net",), 2),
    ("both", ["module.a.net.weight", "module.a.net.bias", "module.b.weight"], ("module",), ("net",), 3),
    ("nothing", ["p.q", "r.s"], None, None, 0),
]


@pytest.mark.parametrize(("keys", "prefixes", "segments", "matches"), [case[1:] for case in WRAPPERS], ids=[case[0] for case in WRAPPERS])
def test_wrappers_are_found(keys, prefixes, segments, matches):
    wrappers = compare(header(dict.fromkeys(keys, (1,))), TARGET).wrappers
    if prefixes is None:
        assert wrappers is None
        return
    assert (wrappers.prefixes, wrappers.segments, wrappers.matches) == (prefixes, segments, matches)


def test_wrappers_are_found_on_the_targets_side_too():
    target = header({"module.a.weight": (2, 3), "module.b.weight": (4,)})
    wrappers = compare(header({"a.weight": (2, 3), "b.weight": (4,)}), target).wrappers
    assert wrappers.prefixes == ("module",)
    assert wrappers.rule == "align_names: {prefixes: [module.]}"


def test_the_nearest_name_of_the_same_shape_is_suggested():
    diff = compare(header({"aa.weight": (2, 3), "a.bias": (2,), "b.weight": (4,)}), TARGET)
    assert diff.nearest == {"a.weight": "aa.weight"}
    assert compare(header({"aa.weight": (7, 7)}), TARGET).nearest == {}


def test_an_outcome_tells_each_keys_class():
    outcome = Outcome(exact=("a",), renamed=("b",), adapted=("c",), initialized=("d",), missing_keys=("e",), filled=("f",))
    assert outcome.classes == {"a": "exact", "b": "renamed", "c": "adapted", "d": "initialized", "e": "missing", "f": "initialized"}
    assert outcome.new == ("d", "e")
    assert outcome.loaded == ("a", "b", "c")
