"""Names for people: escaped and shortened without doubt, folded without loss."""

import itertools
import random
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.keys.matching import matches_any, nearest
from ckpt_surgeon.keys.pattern import Pattern

ESCAPES = [
    ("a.b", "a.b"),
    ("layer 1", "layer 1"),
    ("層.weight", "層.weight"),
    ("é", "é"),
    ("a\nb", r"a\nb"),
    ("a\r\tb", r"a\r\tb"),
    ("\x1b[31m", r"\x1b[31m"),
    ("\x00", r"\x00"),
    ("\x7f\x9b", r"\x7f\x9b"),
    ("a\\nb", r"a\\nb"),
    ("\u202eabc", r"\u202eabc"),
    ("\u2066a\u2069", r"\u2066a\u2069"),
    ("a\u200bb", r"a\u200bb"),
    ("\ufeff", r"\ufeff"),
    ("\u2028", r"\u2028"),
    ("\xa0", r"\xa0"),
    ("\u3164", r"\u3164"),
    ("a\ufe0f", r"a\ufe0f"),
    ("\ud800", r"\ud800"),
    ("\U000e0041", r"\U000e0041"),
    ("\ue000", r"\ue000"),
    ("", ""),
]


@pytest.mark.parametrize(("name", "shown"), ESCAPES)
def test_whatever_is_unprintable_or_invisible_is_escaped(name, shown):
    assert escape(name) == shown


@pytest.mark.parametrize(
    ("name", "limit", "shown"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghijk", 10, "abcd...ijk"),
        ("\n" * 5, 10, "\\n" * 5),
        ("\n" * 6, 10, "\\n\\n...\\n"),
        ("ab" + "\x00" * 9, 10, "ab..."),
        ("x" * 10_000_000, 8, "xxx...xx"),
    ],
)
def test_what_is_too_long_loses_its_middle_and_no_escape_is_cut(name, limit, shown):
    assert escape(name, limit) == shown


@given(st.text(max_size=300), st.integers(8, 200))
def test_an_escaped_name_is_one_short_printable_line(name, limit):
    shown = escape(name, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_short_names_are_shown_differently(one, other):
    assert (escape(one, 300) == escape(other, 300)) == (one == other)


RESNET = [
    f"layer{stage}.{block}.conv{at}.weight" for stage, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for block in range(n) for at in (1, 2, 3)
]

FOLDS = [
    ([], []),
    (["a", "b"], [("a", 1), ("b", 1)]),
    (["a", "a"], [("a", 1)]),
    (["h.0", "h.1", "h.2"], [("h.{0..2}", 3)]),
    (["h.0", "h.2"], [("h.{0,2}", 2)]),
    (["h.5", "h.0", "h.2"], [("h.{0,2,5}", 3)]),
    (["h.0", "h.1", "h.5", "h.6", "h.9"], [("h.{0..1,5..6,9}", 5)]),
    (["h.7"], [("h.7", 1)]),
    (["h.9", "h.10", "h.11"], [("h.{9..11}", 3)]),
    ([f"l{i}.{j}.w" for i in (1, 2, 3, 4) for j in (0, 1, 2)], [("l{1..4}.{0..2}.w", 12)]),
    (["a.0.0", "a.0.1", "a.1.0"], [("a.0.{0..1}", 2), ("a.1.0", 1)]),
    (
        RESNET,
        [("layer{1,4}.{0..2}.conv{1..3}.weight", 18), ("layer2.{0..3}.conv{1..3}.weight", 12), ("layer3.{0..5}.conv{1..3}.weight", 18)],
    ),
    # what would not be given back as written is left alone
    (["h.00", "h.01"], [("h.00", 1), ("h.01", 1)]),
    (["h.0", "h.00", "h.1"], [("h.{0..1}", 2), ("h.00", 1)]),
    (["h.1234567890", "h.1234567891"], [("h.1234567890", 1), ("h.1234567891", 1)]),
    (["{0..1}", "h{.0", "h{.1"], [("{0..1}", 1), ("h{.0", 1), ("h{.1", 1)]),
    (["१", "२"], [("१", 1), ("२", 1)]),
    ([".".join("0" * 9), ".".join("1" * 9)], [("0.0.0.0.0.0.0.0.0", 1), ("1.1.1.1.1.1.1.1.1", 1)]),
    # leaves stay apart, blocks stand in the order of their first key
    (["h.0.w", "h.0.b", "h.1.w", "h.1.b"], [("h.{0..1}.w", 2), ("h.{0..1}.b", 2)]),
    (["z.1", "a", "z.0"], [("z.{0..1}", 2), ("a", 1)]),
    (["3", "1", "2"], [("{1..3}", 3)]),
]


@pytest.mark.parametrize(("keys", "blocks"), FOLDS)
def test_complete_blocks_are_folded(keys, blocks):
    assert fold(keys) == blocks


def unfolded(text: str) -> list[str]:
    """The keys which a folded text stands for, told by reading it."""
    parts = re.split(r"\{([0-9.,]+)\}", text)
    choices = [[part] if at % 2 == 0 else list(numbers(part)) for at, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def numbers(text: str):
    for part in text.split(","):
        first, _, last = part.partition("..")
        yield from map(str, range(int(first), int(last or first) + 1))


KEYS = st.lists(
    st.lists(st.sampled_from(["a", "b1", "0", "1", "2", "3", "07", "w"]), min_size=1, max_size=5).map(".".join), max_size=60, unique=True
)


@settings(max_examples=300)
@given(KEYS)
def test_folding_loses_nothing_and_adds_nothing(keys):
    blocks = fold(keys)
    assert sorted(key for text, _ in blocks for key in unfolded(text)) == sorted(keys)
    assert [count for _, count in blocks] == [len(unfolded(text)) for text, _ in blocks]
    positions = [min(map(keys.index, unfolded(text))) for text, _ in blocks]
    assert positions == sorted(positions)


def calls_of_fold(keys):
    """How many functions a fold calls: what it costs, whatever else the machine does."""
    count = 0

    def watch(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(watch)
    try:
        fold(keys)
    finally:
        sys.setprofile(None)
    return count


def regular(count):
    keys = [f"m.{i}.e.{e}.{p}.weight" for i in range(count // 100) for e in range(25) for p in ("up", "down", "gate", "norm")]
    random.Random(0).shuffle(keys)
    return keys


def irregular(count):
    rng = random.Random(0)
    return list(dict.fromkeys(f"m.{rng.randrange(10**6)}.{rng.randrange(10**6)}.{rng.randrange(3)}" for _ in range(count)))


def test_a_large_table_is_folded_whole():
    assert sorted(fold(regular(20_000))) == [(f"m.{{0..199}}.e.{{0..24}}.{p}.weight", 5_000) for p in ("down", "gate", "norm", "up")]
    keys = irregular(20_000)
    assert sum(count for _, count in fold(keys)) == len(keys)


@pytest.mark.parametrize("make", [regular, irregular])
def test_the_cost_of_a_fold_grows_as_the_table_does(make):
    assert calls_of_fold(make(16_000)) < 5 * calls_of_fold(make(4_000))


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("strip_prefx", ["add_prefix", "strip_prefix", "drop"], "strip_prefix"),
        ("dorp", ["keep", "drop"], "drop"),
        ("layer1.0.conv1.wieght", ["layer1.0.conv1.weight", "layer2.0.conv1.bias"], "layer1.0.conv1.weight"),
        ("frobnicate", ["keep", "drop"], None),
        ("drop", [], None),
        ("", ["drop"], None),
        ("ab", ["abc", "abd"], "abc"),
    ],
)
def test_the_nearest_word_is_found_where_one_is_near(word, known, expected):
    assert nearest(word, known) == expected
    assert nearest(word, iter(known)) == expected


@pytest.mark.parametrize(("key", "expected"), [("a.w", True), ("b.x.y", True), ("c", False), ("b", True), ("xa.w", False)])
def test_one_pattern_of_several_is_enough(key, expected):
    assert matches_any((Pattern.parse("a.*"), Pattern.parse("b.**")), key) is expected
    assert not matches_any((), key)
