"""The error classes: what they carry, how they read, which exit code they mean."""

import copy
import pickle

import pytest

import ckpt_surgeon as surgeon
from ckpt_surgeon import errors
from ckpt_surgeon.errors import CoverageError, DiskError, ModelError, NothingLoadedError, Problem, RulesError, SurgeryError

EXIT_CODES = {
    "SurgeryError": 1,
    "CoverageError": 1,
    "NothingLoadedError": 1,
    "InverseError": 1,
    "CorruptError": 3,
    "UnsafeError": 3,
    "LimitError": 3,
    "RulesError": 4,
    "ModelError": 4,
    "DiskError": 5,
    "LockedError": 5,
}
CLASSES = [getattr(errors, name) for name in EXIT_CODES]


def test_every_class_is_known_here_and_public():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, SurgeryError)}
    assert defined == set(EXIT_CODES)
    assert all(getattr(surgeon, name) is getattr(errors, name) for name in EXIT_CODES)


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_each_class_means_one_exit_code(name, code):
    assert getattr(errors, name)("x").exit_code == code


SUBCLASSES = [("NothingLoadedError", "CoverageError"), ("LockedError", "DiskError")]


@pytest.mark.parametrize(("inner", "outer"), SUBCLASSES)
def test_the_narrower_class_is_caught_as_the_wider(inner, outer):
    with pytest.raises(getattr(errors, outer)):
        raise getattr(errors, inner)("x")


def test_no_other_class_is_caught_as_another():
    pairs = {(inner.__name__, outer.__name__) for inner in CLASSES for outer in CLASSES if inner is not outer and issubclass(inner, outer)}
    assert {pair for pair in pairs if pair[1] != "SurgeryError"} == set(SUBCLASSES)


TEXTS = [
    (SurgeryError("it is cut"), "it is cut"),
    (SurgeryError("it is cut", where="a.pt"), "a.pt: it is cut"),
    (SurgeryError("it is cut", hint="download it again"), "it is cut\nhint: download it again"),
    (SurgeryError("it is cut", where="a.pt", hint="download it again"), "a.pt: it is cut\nhint: download it again"),
    (SurgeryError([Problem("one", "a"), Problem("two", "b")]), "a: one\nb: two"),
    (SurgeryError([Problem("one", "a"), Problem("two", "b", "do"), Problem("three", hint="or")]), "a: one\nb: two\nthree\nhint: do"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "text"), TEXTS)
def test_an_error_is_a_line_for_each_problem_and_at_most_one_hint(error, text):
    assert str(error) == text
    assert text.count("hint:") <= 1


def test_the_hint_is_the_first_which_a_problem_gives():
    assert SurgeryError([Problem("one"), Problem("two", hint="x"), Problem("three", hint="y")]).hint == "x"
    assert SurgeryError([Problem("one")]).hint == ""


def test_an_iterator_of_problems_is_read_once_and_kept():
    error = SurgeryError(Problem(text) for text in ("one", "two"))
    assert str(error) == str(error) == "one\ntwo"


@pytest.mark.parametrize("kind", CLASSES)
def test_located_fills_in_only_what_has_no_place(kind):
    error = kind([Problem("one", hint="h"), Problem("two", "b.pt")])
    located = error.located("rules.yaml:3:5")
    assert type(located) is kind
    assert [problem.where for problem in located.problems] == ["rules.yaml:3:5", "b.pt"]
    assert located.hint == "h"
    assert [problem.where for problem in error.problems] == ["", "b.pt"]
    assert str(located.located("elsewhere")) == str(located)


@pytest.mark.parametrize(
    "again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_a_process_border_whole(kind, again):
    error = kind([Problem("one", "a", "h"), Problem("two\nlines", "b")])
    after = again(error)
    assert type(after) is kind
    assert (after.problems, str(after), after.hint, after.exit_code) == (error.problems, str(error), error.hint, error.exit_code)


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "\u202egpj", "\ud800", "\0", "é", "日本"])
def test_names_from_files_are_one_printable_line(name):
    text = str(SurgeryError(f"no {name}", where=f"rules[0].{name}"))
    assert text.isprintable()
    assert (name in text) == name.isprintable()


def test_a_problem_is_a_value():
    assert Problem("one", "a") == Problem("one", "a")
    assert len({Problem("one"), Problem("one"), Problem("two")}) == 2
    with pytest.raises(AttributeError):
        Problem("one").what = "two"  # type: ignore[misc]


def spec_table(*keys: str) -> surgeon.Header:
    return surgeon.Header(dict.fromkeys(keys, surgeon.TensorSpec.of("float32", 1)))


RAISED = [
    (NothingLoadedError, lambda: surgeon.plan(spec_table("x"), None, spec_table("a"))),
    (CoverageError, lambda: surgeon.plan(spec_table("a"), None, spec_table("a", "b"))),
    (RulesError, lambda: surgeon.plan(spec_table("a"), [{"no_such_op": 1}])),
    (RulesError, lambda: surgeon.plan(spec_table("a"), None, allow_missing=["{a"])),
    (DiskError, lambda: surgeon.inspect("no/such/file.pt")),
    (ModelError, lambda: surgeon.inspect("no_such_module:build")),
    (ModelError, lambda: surgeon.inspect({1: 2})),
]


@pytest.mark.parametrize(("kind", "call"), RAISED)
def test_the_library_raises_its_own_classes(kind, call):
    with pytest.raises(SurgeryError) as caught:
        call()
    assert type(caught.value) is kind
    assert caught.value.problems
