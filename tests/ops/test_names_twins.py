"""align_names, replace, sub and rename against slow plain twins, which try everything, on small random keys."""

import re
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Move
from ckpt_surgeon.ops.registry import OPS

segments = st.sampled_from(["a", "b", "net", "m", "0"])
keys = st.lists(segments, min_size=1, max_size=4).map(".".join)
tables = st.lists(keys, unique=True, max_size=6)


def moves(name: str, table: list[str], target: Any = None, **parameters: Any) -> dict[str, str]:
    """The new name of each match. Raises RulesError."""
    edits = OPS[name](**parameters).edits(table, target)
    assert all(isinstance(edit, Move) for edit in edits)
    assert [edit.source for edit in edits] == [key for key in table if key in {edit.source for edit in edits}]
    return {edit.source: edit.target for edit in edits}


def outcome(name: str, table: list[str], target: Any = None, **parameters: Any) -> dict[str, str] | tuple[str, ...]:
    """The moves, or what is said against them."""
    try:
        return moves(name, table, target, **parameters)
    except RulesError as error:
        return tuple(problem.what for problem in error.problems)


# align_names: two names are alike when leaving out listed parts, in any way at all, can make them equal


def reduced(key: str, prefixes: list[str], dropped: list[str]) -> frozenset[str]:
    """Every name which is left of a key when as much as possible of the listed parts is taken away, in any order."""
    bare = [segment for segment in key.split(".") if segment not in dropped] or key.split(".")
    runs = [run for prefix in prefixes if (run := [each for each in prefix.strip(".").split(".") if each not in dropped])]
    shorter = [bare[len(run) :] for run in runs if bare[: len(run)] == run and len(bare) > len(run)]
    if not shorter:
        return frozenset({".".join(bare)})
    return frozenset().union(*(reduced(".".join(left), prefixes, dropped) for left in shorter))


def aligned(table: list[str], target: list[str], prefixes: list[str], dropped: list[str]) -> dict[str, str] | None:
    """What align_names has to do; None where it has to refuse."""
    free = [name for name in target if name not in table]
    candidates = {}
    for key in table:
        alike = [name for name in free if reduced(name, prefixes, dropped) & reduced(key, prefixes, dropped)]
        candidates[key] = [key] if key in target else alike
    taken = [names[0] for names in candidates.values() if len(names) == 1]
    if any(len(names) > 1 for names in candidates.values()) or len(set(taken)) < len(taken):
        return None
    return {key: names[0] for key, names in candidates.items() if names}


PREFIXES = st.lists(st.sampled_from(["m", "m.", "a.", "m.a", "net.m."]), max_size=2, unique=True)
DROPPED = st.lists(st.sampled_from(["net", "0"]), max_size=2, unique=True)


@settings(max_examples=600)
@given(tables, tables, PREFIXES, DROPPED)
def test_align_names_does_what_trying_every_pair_finds(
    table: list[str], target: list[str], prefixes: list[str], dropped: list[str]
) -> None:
    assume(prefixes or dropped)
    expected = aligned(table, target, prefixes, dropped)
    found = outcome("align_names", table, target, prefixes=prefixes, segments=dropped)
    assert isinstance(found, tuple) == (expected is None), found
    if expected is not None:
        assert found == expected


AMBIGUOUS = [
    (["m.a", "a"], ["a"], {"prefixes": ["m"]}, None),
    (["m.a", "b.a"], ["a"], {"prefixes": ["m", "b"]}, ["several keys could take the target's name a: m.a and b.a"]),
    (["a"], ["m.a", "b.a"], {"prefixes": ["m", "b"]}, ["a could take several names of the target: m.a and b.a"]),
    (["a.net", "net.a"], ["a"], {"segments": ["net"]}, ["several keys could take the target's name a: a.net and net.a"]),
    (["a.x"], ["a.net.x", "a.x.net"], {"segments": ["net"]}, ["a.x could take several names", "a.net.x and a.x.net"]),
    (["m.a", "m.b"], ["a", "b"], {"prefixes": ["m"]}, None),
]


@pytest.mark.parametrize(("table", "target", "parameters", "says"), AMBIGUOUS)
def test_ambiguous_names_are_refused_and_every_candidate_named(
    table: list[str], target: list[str], parameters: dict[str, Any], says: list[str] | None
) -> None:
    found = outcome("align_names", table, target, **parameters)
    if says is None:
        assert isinstance(found, dict)
        return
    assert isinstance(found, tuple)
    assert [word for word in says if not any(word in what for what in found)] == []


# replace: of all runs which match at a place, the longest; of equal ones the one without wildcards; then on behind it


def run_matches(run: list[str], part: list[str]) -> str | None:
    """What `{x}` stands for (empty where there is none); None where the run does not match."""
    captured = ""
    for wanted, found in zip(run, part, strict=True):
        if wanted == "{x}":
            captured = found
        elif wanted != found:
            return None
    return captured


def replaced(key: str, pairs: dict[str, str]) -> str | None:
    """The new name, the same one where nothing matches; None where two runs of a length could be meant or nothing is left."""
    left, made = key.split("."), []
    while left:
        fitting = []
        for run, text in pairs.items():
            parts = run.split(".")
            captured = run_matches(parts, left[: len(parts)]) if len(parts) <= len(left) else None
            if captured is not None:
                fitting.append((len(parts), "{x}" not in run, text.replace("{x}", captured)))
        fitting.sort(key=lambda each: each[:2], reverse=True)
        if len(fitting) > 1 and fitting[0][:2] == fitting[1][:2]:
            return None
        length, _, text = fitting[0] if fitting else (1, True, left[0])
        made += [text] if text else []
        left = left[length:]
    return ".".join(made) or None


RUNS = st.sampled_from(["a", "b", "a.b", "{x}.b", "a.{x}", "net", "{x}", "m.a.b", "a.a", "0.{x}.net"])
PAIRS = st.dictionaries(RUNS, st.sampled_from(["", "y", "y.z", "a", "net.a"]), min_size=1, max_size=4)


@settings(max_examples=600)
@given(tables, PAIRS)
def test_replace_does_what_trying_every_run_finds(table: list[str], pairs: dict[str, str]) -> None:
    expected = {key: replaced(key, pairs) for key in table}
    found = outcome("replace", table, pairs=pairs)
    assert isinstance(found, tuple) == (None in expected.values()), found
    if isinstance(found, dict):
        assert {key: found.get(key, key) for key in table} == expected


LITERAL_RUNS = st.sampled_from(["a", "b", "a.b", "net", "m.a.b", "a.a", "0.net", "b.a", "c+", "x"])


@settings(max_examples=300)
@given(tables, st.dictionaries(LITERAL_RUNS, st.sampled_from(["y", "y.z", "a", "net.a"]), min_size=1, max_size=4))
def test_replace_finds_literal_runs_as_it_finds_others(table: list[str], pairs: dict[str, str]) -> None:
    assert {key: moves("replace", table, pairs=pairs).get(key, key) for key in table} == {key: replaced(key, pairs) for key in table}


@settings(max_examples=300)
@given(tables, st.sampled_from(["y{x}", "{x}.y", "y.{x}"]), st.sampled_from(["a.{x}", "{x}.b", "m.{x}.a"]))
def test_replace_puts_captures_back(table: list[str], text: str, run: str) -> None:
    expected = {key: replaced(key, {run: text}) for key in table}
    assert {key: moves("replace", table, pairs={run: text}).get(key, key) for key in table} == expected


# sub: pair by pair, the first which finds something is the last one tried

EXPRESSIONS = ["a", "^a", r"\.b$", r"(a|b)\.", "net", "^m\\.", "x*$", "[ab]", r"(?P<x>a)\.(?P<y>b)", "(?i)A"]
REPLACEMENTS = ["", "z", "a", r"<\g<0>>", "b.b"]
SUBS = st.lists(st.tuples(st.sampled_from(EXPRESSIONS), st.sampled_from(REPLACEMENTS)), min_size=1, max_size=4).map(dict)


@settings(max_examples=500)
@given(tables, SUBS)
def test_sub_does_what_re_sub_does(table: list[str], pairs: dict[str, str]) -> None:
    expected: dict[str, str] = {}
    for key in table:
        tried = (re.subn(expression, replacement, key) for expression, replacement in pairs.items())
        new = next((name for name, count in tried if count), None)
        expected |= {} if new is None else {key: new}
    found = outcome("sub", table, pairs=pairs)
    assert isinstance(found, tuple) == ("" in expected.values())
    if isinstance(found, dict):
        assert found == expected


# names there and back

BIJECTIONS = [
    ({"{a}.{rest:path}": "x.{rest}.{a}.end"}, {"x.{rest:path}.{a}.end": "{a}.{rest}"}),
    ({"{p:path}.{leaf}": "{leaf}-x.{p}"}, {"{leaf}-x.{p:path}": "{p}.{leaf}"}),
    ({"{p:path}": "wrapped.{p}"}, {"wrapped.{p:path}": "{p}"}),
    ({"{a:a|b|net|m}.{rest:path}": "{rest}.as_{a}", "0.{rest:path}": "{rest}.zero"}, None),
]


@pytest.mark.parametrize(("there", "back"), [pair for pair in BIJECTIONS if pair[1]])
@given(table=tables)
def test_a_bijection_of_names_is_undone_by_its_inverse(there: dict[str, str], back: dict[str, str], table: list[str]) -> None:
    middle = moves("rename", table, pairs=there)
    assert list(middle) == table
    assert len(set(middle.values())) == len(table)
    assert list(moves("rename", list(middle.values()), pairs=back).values()) == table


@given(st.lists(keys, unique=True, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_permutation_of_names_is_undone_by_its_inverse(table: list[str], rng: Any) -> None:
    shuffled = rng.sample(table, len(table))
    there, back = dict(zip(table, shuffled, strict=True)), dict(zip(shuffled, table, strict=True))
    middle = moves("rename", table, pairs=there)
    assert middle == there
    assert [back[name] for name in middle.values()] == table
    assert moves("rename", list(middle.values()), pairs=back) == back


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a.b", "a", "b"]), min_size=1, max_size=3, unique=True))
def test_a_prefix_is_taken_away_once_in_list_order(prefixes: list[str]) -> None:
    table = [".".join(each) for length in range(1, 5) for each in product("ab", repeat=length)]
    expected = {}
    for key in table:
        left = key
        for prefix in prefixes:
            left = left[len(prefix) + 1 :] if left.startswith(prefix + ".") else left
        expected |= {key: left} if left != key else {}
    assert moves("strip_prefix", table, prefixes=prefixes) == expected
