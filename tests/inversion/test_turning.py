"""Patterns turned round, and changes folded into few patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.inversion.general import covering, folded
from ckpt_surgeon.inversion.turning import turned
from ckpt_surgeon.keys.grouping import group
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template


@pytest.mark.parametrize(
    ("sources", "targets", "back"),
    [
        (["a.b"], ["c"], (["c"], ["a.b"])),
        (["t.{p:path}"], ["m.{p}"], (["m.{p:path}"], ["t.{p}"])),
        (["h.{i:int}.{x:q|k}.{leaf}"], ["b.{i+2}.{leaf}.{x}"], (["b.{i:int}.{leaf}.{x:q|k}"], ["h.{i-2}.{x}.{leaf}"])),
        (["h{i:int}"], ["g{ i - 1 }"], (["g{i:int}"], ["h{i+1}"])),
        (["e.{e:int}.w"], ["e.w"], (["e.w"], ["e.{e:int}.w"])),
        (["e.w"], ["e.{e:int}.w"], (["e.{e:int}.w"], ["e.w"])),
        (["q.{l}", "k.{l}"], ["qk.{l}"], (["qk.{l}"], ["q.{l}", "k.{l}"])),
        (["qk.{l}"], ["qk.{x:q|k}.{l}"], (["qk.{x:q|k}.{l}"], ["qk.{l}"])),
        (["a.*"], ["b"], None),
        (["a.**"], ["b"], None),
        (["a.{x|y}"], ["b"], None),
        (["re:a(?P<x>.)"], ["b.{x}"], None),
        (["{i:int}"], ["{i//2}.{i%2}"], None),
        (["{i:int}"], ["{i*2}"], None),
        (["{i:int}"], ["{i}.{i+1}"], None),
        (["{i:int}"], ["{i+"], None),
    ],
)
def test_what_can_be_put_back_is_turned_round(sources, targets, back):
    assert turned(sources, targets) == back


@pytest.mark.parametrize(
    ("changes", "others", "forms"),
    [
        ([("a.0", "b.0"), ("a.1", "b.1")], [], [("a.{i:int}", "b.{i}")]),
        ([("a.0", "b.0"), ("a.1", "b.1")], ["a.2"], [("a.0", "b.0"), ("a.1", "b.1")]),
        ([("a.0.x.1", "b0.1"), ("a.1.x.1", "b1.1")], ["a.0.y.1"], [("a.{i:int}.x.{j:int}", "b{i}.{j}")]),
        ([("a.0", "b.1"), ("a.1", "b.0")], [], [("a.0", "b.1"), ("a.1", "b.0")]),
        ([("a.0", "b"), ("c", "a")], [], [("a.0", "b"), ("c", "a")]),
        ([("a.{0}", "b.0"), ("a.{1}", "b.1")], [], [(r"re:a\.\{0\}", "b.0"), (r"re:a\.\{1\}", "b.1")]),
        ([("1a1a1a1a1", "b"), ("2a2a2a2a2", "c")], [], [("1a1a1a1a1", "b"), ("2a2a2a2a2", "c")]),
        ([("1a1a1a1a1", "1b1b1b1b1"), ("2a2a2a2a2", "2b2b2b2b2")], [], [("1a1a1a1a1", "1b1b1b1b1"), ("2a2a2a2a2", "2b2b2b2b2")]),
    ],
)
def test_names_which_differ_in_numbers_become_one_pattern(changes, others, forms):
    keys = [key for key, _ in changes] + others
    found = folded([((key,), (place,)) for key, place in changes], keys)
    assert [(form.sources, form.targets) for form in found] == [((source,), (target,)) for source, target in forms]


@pytest.mark.parametrize(
    ("inputs", "outputs", "form"),
    [
        (["h.{}.q", "h.{}.k"], ["h.{}.qk"], (("h.{i:int}.q", "h.{i:int}.k"), ("h.{i}.qk",))),
        (["h.{}.e.0", "h.{}.e.1"], ["h.{}.e"], (("h.{i:int}.e.{n:int}",), ("h.{i}.e",))),
        (["h.{}.e"], ["h.{}.e.0", "h.{}.e.1"], (("h.{i:int}.e",), ("h.{i}.e.{n:int}",))),
        (["h.{}.e.1", "h.{}.e.0"], ["h.{}.e"], (("h.{i:int}.e.1", "h.{i:int}.e.0"), ("h.{i}.e",))),
    ],
)
def test_groups_which_differ_in_numbers_become_one_pattern(inputs, outputs, form):
    changes = [(tuple(key.format(i) for key in inputs), tuple(key.format(i) for key in outputs)) for i in (4, 7)]
    (found,) = folded(changes, [key for given, _ in changes for key in given])
    assert (found.sources, found.targets) == form


segments = st.sampled_from(["a", "b", "a1", "b2", "0", "1", "2", "*", "{x}", "re:a", ""])
tables = st.lists(st.lists(segments, min_size=1, max_size=4).map(".".join).filter(bool), unique=True, max_size=12)


@given(tables, st.data())
def test_patterns_cover_what_is_wanted_and_nothing_else(table, data):
    wanted = [key for key in table if data.draw(st.booleans())]
    patterns = list(map(Pattern.parse, covering(wanted, table)))
    assert [key for key in table if any(pattern.match(key) is not None for pattern in patterns)] == wanted
    assert len(patterns) <= len(wanted)


@given(tables)
def test_folded_changes_are_the_changes(table):
    changes = [((key,), (f"x.{key}",)) for key in table if not set("*{}") & set(key)]
    forms = folded(changes, table)
    found = [
        (each.inputs, each.outputs)
        for form in forms
        for each in group(table, [Pattern.parse(text) for text in form.sources], [Template.parse(text) for text in form.targets])
    ]
    assert sorted(found) == sorted(changes)


@pytest.mark.parametrize(
    ("wanted", "others", "patterns"),
    [
        (["a.w", "a.b"], [], ("**",)),
        (["a.w", "a.b"], ["c"], ("a.**",)),
        (["a.w", "a.b.w"], ["a.c", "c"], ("a.w", "a.b.w")),
        (["h.0.b", "h.1.b", "h.2.b"], ["h.0.w"], ("h.{i:int}.b",)),
        (["a"], ["a.b"], ("a",)),
    ],
)
def test_whole_modules_are_named_by_their_path(wanted, others, patterns):
    assert covering(wanted, [*wanted, *others]) == patterns
