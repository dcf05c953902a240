"""Grouping: one key each, folded, unfolded, listed; complete or refused."""

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.folding import Scheme
from ckpt_surgeon.keys.grouping import Group, group
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template


def grouped(keys, sources, targets, **options):
    made = group(keys, [Pattern.parse(text) for text in sources], [Template.parse(text) for text in targets], **options)
    return [(one.inputs, one.outputs) for one in made]


EXPERTS = [f"l.{layer}.e.{expert}.w" for layer in (0, 1) for expert in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)]
QKV = [f"b.{name}.{leaf}" for leaf in ("weight", "bias") for name in ("key", "value", "query")]

GROUPS = [
    ("one key each", ["b.1", "a.2", "c"], ["{x}.{i:int}"], ["{i}.{x}"], [(("b.1",), ("1.b",)), (("a.2",), ("2.a",))]),
    ("nothing matches", ["c"], ["{x}.{i:int}"], ["{i}.{x}"], []),
    ("wildcards are not folded", ["a.1.w"], ["a.*.w"], ["a.w"], [(("a.1.w",), ("a.w",))]),
    ("literals", ["a", "b"], ["a"], ["c"], [(("a",), ("c",))]),
    ("a path", ["m.w", "m.a.b.w"], ["m.{p:path}.w"], ["n.{p}.w"], [(("m.w",), ("n.w",)), (("m.a.b.w",), ("n.a.b.w",))]),
    (
        "an int is folded in numeric order",
        EXPERTS,
        ["l.{i:int}.e.{e:int}.w"],
        ["l.{i}.experts"],
        [(tuple(f"l.{layer}.e.{expert}.w" for expert in range(11)), (f"l.{layer}.experts",)) for layer in (0, 1)],
    ),
    (
        "alternatives are folded in the order written",
        QKV,
        ["b.{x:query|key|value}.{leaf}"],
        ["qkv.{leaf}"],
        [(tuple(f"b.{name}.{leaf}" for name in ("query", "key", "value")), (f"qkv.{leaf}",)) for leaf in ("weight", "bias")],
    ),
    ("a fold of one", ["e.0.w"], ["e.{e:int}.w"], ["w"], [(("e.0.w",), ("w",))]),
    ("an int with zeros in front", ["e.01", "e.00"], ["e.{e:int}"], ["w"], [(("e.00", "e.01"), ("w",))]),
    (
        "listed sources are the inputs in list order",
        ["a.v.0", "a.q.0", "a.q.1", "a.v.1", "x"],
        ["a.q.{i}", "a.v.{i}"],
        ["qv.{i}"],
        [(("a.q.0", "a.v.0"), ("qv.0",)), (("a.q.1", "a.v.1"), ("qv.1",))],
    ),
    (
        "listed sources capture in any order",
        ["q.0.w", "v.w.0"],
        ["q.{i:int}.{leaf}", "v.{leaf}.{i:int}"],
        ["{leaf}.{i}"],
        [(("q.0.w", "v.w.0"), ("w.0",))],
    ),
    ("listed literals", ["b", "a"], ["a", "b"], ["c"], [(("a", "b"), ("c",))]),
    ("listed targets", ["a.0", "a.1"], ["a.{i}"], ["q.{i}", "k.{i}"], [(("a.0",), ("q.0", "k.0")), (("a.1",), ("q.1", "k.1"))]),
    (
        "alternatives are unfolded in the order written",
        ["qkv.w", "qkv.b"],
        ["qkv.{leaf}"],
        ["{x:q|k|v}.{leaf}"],
        [(("qkv.w",), ("q.w", "k.w", "v.w")), (("qkv.b",), ("q.b", "k.b", "v.b"))],
    ),
    (
        "fold and unfold",
        ["in.1", "in.0"],
        ["in.{i:int}"],
        ["{x:a|b}.out"],
        [(("in.0", "in.1"), ("a.out", "b.out"))],
    ),
    ("a typed capture which the source has, too", ["a.1"], ["a.{i:int}"], ["b.{i:int}"], [(("a.1",), ("b.1",))]),
    (
        "no targets: the key stays",
        ["a.w", "b.w", "a.b"],
        ["a.*", "b.*"],
        [],
        [(("a.w",), ("a.w",)), (("b.w",), ("b.w",)), (("a.b",), ("a.b",))],
    ),
    ("no targets: a key which two match is there once", ["a.w"], ["a.*", "*.w"], [], [(("a.w",), ("a.w",))]),
]


@pytest.mark.parametrize(("keys", "sources", "targets", "expected"), [case[1:] for case in GROUPS], ids=[case[0] for case in GROUPS])
def test_keys_which_belong_together_are_grouped(keys, sources, targets, expected):
    assert grouped(keys, sources, targets) == expected


REFUSALS = [
    ("an int lacks", ["e.0.w", "e.2.w"], ["e.{e:int}.w"], ["w"], ["the group of e.0.w lacks e = 1"]),
    ("the first lacks", ["e.1.w"], ["e.{e:int}.w"], ["w"], ["lacks e = 0"]),
    ("far out", ["e.7000000.w"], ["e.{e:int}.w"], ["w"], ["lacks e = 0, e = 1", "..."]),
    ("beyond int64", ["e." + "9" * 40], ["e.{e:int}"], ["w"], ["lacks e = 0"]),
    ("an alternative lacks", ["q.w", "v.w"], ["{x:q|k|v}.{leaf}"], ["{leaf}"], ["the group of q.w lacks x = k"]),
    ("of two groups one is incomplete", ["q.a", "k.a", "q.b"], ["{x:q|k}.{leaf}"], ["{leaf}"], ["the group of q.b lacks x = k"]),
    ("both are incomplete", ["q.a", "q.b"], ["{x:q|k}.{leaf}"], ["{leaf}"], ["group of q.a lacks", "group of q.b lacks"]),
    ("one index twice", ["e.1.a", "e.0.a", "e.0.b"], ["e.{e:int}.*"], ["w"], ["e.0.a and e.0.b are both e = 0"]),
    ("one number written twice", ["e.0", "e.00"], ["e.{e:int}"], ["w"], ["e.0 and e.00 are both e = 0"]),
    ("a listed source lacks", ["q.0", "v.0", "q.1"], ["q.{i}", "v.{i}"], ["{i}"], ["the group of q.1 lacks a key of 'v.{i}'"]),
    ("a listed source matches twice", ["q.0.x", "q.0.y", "v.0.x"], ["q.{i}.*", "v.{i}.*"], ["{i}"], ["q.0.x and q.0.y are both"]),
    ("two listed sources match one key", ["a.w"], ["a.*", "*.w"], ["b"], ["a.w is matched by two sources"]),
    ("two groups make one output", ["a.w", "b.w"], ["*.w"], ["w"], ["a.w and b.w would both become w"]),
    ("by arithmetic", ["a.2", "a.3"], ["a.{i:int}"], ["b.{i//2}"], ["a.2 and a.3 would both become b.1"]),
    ("one group makes an output twice", ["a.0"], ["a.{i}"], ["b.{i}", "b.{i}"], ["two outputs of one name"]),
    ("a negative number", ["a.0", "a.1"], ["a.{i:int}"], ["b.{i-1}"], ["{i-1} is -1"]),
]


@pytest.mark.parametrize(("keys", "sources", "targets", "says"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_what_is_incomplete_or_ambiguous_is_refused_by_name(keys, sources, targets, says):
    with pytest.raises(RulesError) as caught:
        grouped(keys, sources, targets)
    assert [part for part in says if part not in str(caught.value)] == []
    assert len(str(caught.value)) < 1000


MISFITS = [
    ("a text cannot be folded", ["a.{x}.w"], ["w"], "a text capture cannot be folded"),
    ("a path cannot be folded", ["{p:path}.w"], ["w"], "a path capture cannot be folded"),
    ("a group of an expression cannot be folded", [r"re:a(?P<n>\d)"], ["w"], "a regex capture cannot be folded"),
    ("two folds", ["a.{i:int}.{j:int}"], ["w"], "i, j in 'a.{i:int}.{j:int}': captured, but in no target"),
    ("a fold of listed sources", ["a.{i:int}", "b.{i:int}"], ["w"], "captured, but in no target"),
    ("sources which capture different names", ["a.{i}", "b.{j}"], ["{i}"], "do not capture the same names"),
    ("sources which capture different types", ["a.{i}", "b.{i:int}"], ["{i}"], "do not capture the same names"),
    ("a name which is not captured", ["a.{i}"], ["{j}.{i}"], "'j' is not captured by the source"),
    ("arithmetic on text", ["a.{i}"], ["{i+1}"], "'i' is no number"),
    ("two unfolds", ["a"], ["{i:int}.{j:int}"], "i, j in '{i:int}.{j:int}'"),
    ("an unfold in listed targets", ["a"], ["{i:int}.x", "y"], "not the only thing to unfold"),
    ("a path cannot be unfolded", ["a"], ["b.{p:path}"], "a path capture cannot be unfolded"),
    ("another type than the source's", ["a.{i}"], ["b.{i:int}"], "'i' is int here and text in the source"),
]


@pytest.mark.parametrize(("sources", "targets", "says"), [case[1:] for case in MISFITS], ids=[case[0] for case in MISFITS])
def test_sources_and_targets_which_do_not_go_together_are_refused_without_a_key(sources, targets, says):
    with pytest.raises(RulesError) as caught:
        grouped([], sources, targets)
    assert says in str(caught.value)
    assert caught.value.hint


def test_an_int_is_unfolded_to_as_many_as_the_op_counts():
    asked = []

    def count(inputs):
        asked.append(inputs)
        return 3

    assert grouped(["e.w"], ["e.{leaf}"], ["e.{n:int}.{leaf}"], count=count) == [(("e.w",), ("e.0.w", "e.1.w", "e.2.w"))]
    assert asked == [(("e.w"),)]


def test_an_int_is_unfolded_to_as_many_as_the_target_holds_where_the_op_does_not_know():
    known = {"e.0.w", "e.1.w", "e.3.w", "e.0.b"}
    assert grouped(["e.w", "e.b"], ["e.{leaf}"], ["e.{n:int}.{leaf}"], known=known) == [
        (("e.w",), ("e.0.w", "e.1.w")),
        (("e.b",), ("e.0.b",)),
    ]


def test_an_int_is_not_unfolded_to_an_unknown_number():
    with pytest.raises(RulesError, match=r"how many outputs e\.w has is not known"):
        grouped(["e.w"], ["e.{leaf}"], ["e.{n:int}.{leaf}"], known={"e.1.w"})


@pytest.mark.parametrize("number", [0, -1, 5, 10**12])
def test_a_number_of_outputs_out_of_bounds_is_refused(number):
    with pytest.raises(RulesError, match=f"{number} outputs of e; 1 to 4 are allowed"):
        grouped(["e"], ["e"], ["e.{n:int}"], count=lambda _: number, limit=4)


def test_the_target_cannot_name_more_outputs_than_the_limit():
    with pytest.raises(RulesError, match="5 outputs of e; 1 to 4 are allowed"):
        grouped(["e"], ["e"], ["e.{n:int}"], known={f"e.{at}" for at in range(100)}, limit=4)


def test_what_a_group_has_in_common_is_told():
    (made,) = group(["b.q.w", "b.k.w"], [Pattern.parse("b.{x:q|k}.{leaf}")], [Template.parse("qk.{leaf}")])
    assert made == Group(("b.q.w", "b.k.w"), ("qk.w",), {"leaf": "w"})


def test_only_the_first_of_many_problems_are_told():
    with pytest.raises(RulesError) as caught:
        grouped([f"q.{at}" for at in range(100)], ["{x:q|k}.{leaf}"], ["{leaf}"])
    assert len(caught.value.problems) == 20


@pytest.mark.parametrize(
    ("sources", "targets", "inputs", "outputs"),
    [
        (["a.{i:int}"], ["b.{i}"], False, False),
        (["a.{i:int}"], ["b"], True, False),
        (["a", "b"], ["c"], True, False),
        (["a"], ["b", "c"], False, True),
        (["a"], ["b.{i:int}"], False, True),
        (["a.{i:int}"], ["{x:b|c}"], True, True),
    ],
)
def test_a_scheme_tells_on_which_side_there_are_several(sources, targets, inputs, outputs):
    scheme = Scheme.of([Pattern.parse(text) for text in sources], [Template.parse(text) for text in targets])
    assert (scheme.has_many_inputs, scheme.has_many_outputs) == (inputs, outputs)
