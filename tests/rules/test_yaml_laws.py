"""Laws of reading: what a YAML writer writes is read back; no text at all brings anything but rules or a RulesError."""

from collections.abc import Callable

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.rules import Rules, as_rules, parse_rules
from ckpt_surgeon.rules.scalars import resolve
from ckpt_surgeon.rules.yaml_reader import read_yaml


def is_text(text: str) -> bool:
    """Whether YAML 1.2 reads it as text, too: the writer quotes by YAML 1.1, for which `0E0` is no number."""
    try:
        return resolve(text) == text
    except RulesError:
        return False


WORDS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12).filter(
    lambda text: "\x85" not in text and "\ufeff" not in text and "\ufffe" not in text and "\uffff" not in text and is_text(text)
)
SCALARS = st.one_of(WORDS, st.integers(-(2**62), 2**62), st.booleans(), st.none(), st.floats(-1e6, 1e6).filter(lambda number: number != 0))
DATA = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)), max_leaves=15)


@settings(max_examples=200, deadline=None)
@given(DATA, st.booleans())
def test_what_a_writer_quotes_is_read_back(data, in_block):
    text = yaml.safe_dump(data, default_flow_style=not in_block, default_style='"' if in_block else None, allow_unicode=True)
    if in_block:  # every scalar is quoted, so that it is text
        data = stringed(data)
        text = yaml.safe_dump(data, default_flow_style=False, default_style='"', allow_unicode=True)
    assert read_yaml(text, "r").data == data


def stringed(data):
    if isinstance(data, list):
        return [stringed(item) for item in data]
    if isinstance(data, dict):
        return {key: stringed(item) for key, item in data.items()}
    return str(data)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_brings_another_error(text):
    read_or_refused(text)


PIECES = [
    "- ",
    "a: ",
    "{",
    "}",
    "[",
    "]",
    "*",
    "&x ",
    "!t ",
    "'",
    '"',
    "\n",
    "  ",
    ": ",
    ", ",
    "a",
    "**",
    "|",
    ">",
    "#",
    "? ",
    "---\n",
    "%",
    "@",
    "1",
    "<<: ",
]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_no_text_made_of_yamls_signs_brings_another_error(text):
    read_or_refused(text)


LINES = st.sampled_from(
    [
        "version: 1",
        "version: 2",
        "rules:",
        "  - drop: a.*",
        "  - drop: *.a",
        "  - split: {source: a, target: [b, c]}",
        "  - split: {source: a, target: 'b.{i:int}'}",
        "  - concat: {source: a, target: b}",
        "  - {fit: a, when: mismatched}",
        "    if: flag",
        "    expect: any",
        "    expect: -1",
        "    dims: 1",
        "  - frob: x",
        "allow: {missing: '**'}",
        "allow: [a]",
        "finetune: {freeze: a}",
        "finetune:",
        "  lr: {new: 0.1}",
        "# comment",
        "",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=10).map("\n".join))
def test_no_mixture_of_lines_brings_another_error(text):
    read_or_refused(text)


def read_or_refused(text: str) -> None:
    """Rules, or one or more problems, each one printable line which tells where it is."""
    found = outcome_of(lambda: parse_rules(text, "r"))
    if isinstance(found, Rules):
        assert parse_rules(text, "other").digest == found.digest
        return
    for problem in found:
        assert problem.where == "r" or problem.where.startswith("r:")
        assert problem.what.isprintable()
        assert problem.hint.isprintable()
        assert len(problem.what) < 1000


def outcome_of(read: Callable[[], Rules]) -> Rules | tuple[Problem, ...]:
    try:
        return read()
    except RulesError as error:
        return error.problems


VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["a", "drop", "**", "a.{i}", "{"]), st.integers(-3, 3), st.booleans(), st.none(), st.floats(), st.binary(max_size=2)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["drop", "rename", "split", "fit", "source", "target", "match", "if", "expect", "version", "rules"]), inner
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from(["version", "rules", "allow", "finetune", "drop"]), VALUES)))
def test_no_value_from_python_brings_another_error(given_value):
    assert outcome_of(lambda: as_rules(given_value))
