"""Moves of keys in few words: what is told, and that it is always the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.planning.affixes import MAX_PREFIX, longest_prefix, shortened
from ckpt_surgeon.planning.lineage import AS_IT_IS, Lineage, Way

RENAMED = Way(1, rules=(0,))


def moves(**pairs: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    """`a__w="x.w"` stands for the key `a.w`, which came from `x.w` on way 1; one which is its own source, on way 0."""
    named = {key.replace("__", "."): source for key, source in pairs.items()}
    return {key: (0 if key == source else 1, (source,)) for key, source in named.items()}


CASES = {
    "nothing moved": (moves(a__w="a.w", b="b"), {}, []),
    "a prefix was taken off": (moves(a__w="module.a.w", b="module.b"), {"": (1, "module.")}, []),
    "a prefix was put on": (moves(m__a__w="a.w", m__b="b"), {"m.": (1, "")}, []),
    "a subtree was renamed": (moves(a__x__w="b.x.w", a__x__b="b.x.b", c__w="c.w"), {"a.": (1, "b.")}, []),
    "two went apart": (moves(q__w="enc.w", q__b="enc.b", k__w="dec.w", k__b="dec.b"), {"q.": (1, "enc."), "k.": (1, "dec.")}, []),
    "some in a subtree are wrapped": (
        moves(l__conv__w="m.l.net.conv.w", l__bn__w="m.l.bn.w", l__bn__b="m.l.bn.b", fc="m.fc"),
        {"": (1, "m."), "l.conv.": (1, "m.l.net.conv.")},
        [],
    ),
    "a leaf has another name": (moves(n__weight="n.gamma", n__bias="n.bias"), {}, ["n.weight"]),
    "few of many moved": (moves(a="a", b="b", c="m.c"), {}, ["c"]),
    "two changed places": (moves(a="b", b="a"), {}, ["a", "b"]),
}


@pytest.mark.parametrize(("given", "prefixes", "keys"), CASES.values(), ids=CASES)
def test_moves_are_told_in_few_words(given, prefixes, keys):
    found = shortened(given)
    assert found[0] == prefixes
    assert found[1] == {key: given[key] for key in keys}


def test_a_prefix_longer_than_readers_take_is_told_key_by_key():
    long = "m" * MAX_PREFIX + "."
    given = {"a": (1, (f"{long}a",)), "b": (1, (f"{long}b",))}
    assert shortened(given) == ({}, given)


def test_several_sources_and_none_are_told_key_by_key():
    given = {"a": (1, ("x", "y")), "b": (2, ())}
    assert shortened(given) == ({}, given)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("a.b.c", "a.b."), ("a.x", "a."), ("a.", "a."), ("ab", ""), ("", "")],
)
def test_the_longest_prefix_of_whole_segments_holds(key, prefix):
    assert longest_prefix(key, {"a.": 0, "a.b.": 0, "": 0}) == prefix


_NAME = st.lists(st.sampled_from(["a", "b", "", "m"]), min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(_NAME, st.tuples(st.sampled_from([0, 1]), st.tuples(_NAME)), max_size=8))
def test_whatever_moved_what_is_told_is_the_truth(given):
    prefixes, keys = shortened(given)
    lineage = Lineage("", len(given), ways=(AS_IT_IS, RENAMED), prefixes=prefixes, keys=keys)
    assert {key: (lineage.origin(key).way, lineage.origin(key).sources) for key in given} == {
        key: ((AS_IT_IS, RENAMED)[way], sources) for key, (way, sources) in given.items()
    }
