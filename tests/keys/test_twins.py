"""group, expand, fold and escape against slow plain twins, and their work counted where it has to grow no faster than the keys."""

import itertools
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_surgeon.keys.display as display
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.keys.grouping import group
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template

PARTS = st.sampled_from(["q", "k", "e", "0", "1", "2", "10", "w"])
KEYS = st.lists(st.lists(PARTS, min_size=1, max_size=3).map(".".join), max_size=10, unique=True)

# sources, targets, the folded capture, its values in order (None: whole numbers)
SCHEMES = [
    (["{a}.{i:int}"], ["{a}.{i}.x"], "", ()),
    (["{a}.{i:int}"], ["all.{a}"], "i", None),
    (["e.{i:int}.{leaf}"], ["e.{leaf}"], "i", None),
    (["{x:q|k}.{leaf}"], ["qk.{leaf}"], "x", ("q", "k")),
    (["{x:k|q}.{leaf}"], ["qk.{leaf}"], "x", ("k", "q")),
    (["q.{leaf}", "k.{leaf}"], ["qk.{leaf}"], "", ()),
    (["q.{i:int}", "k.{i:int}"], ["qk.{i+1}"], "", ()),
    (["{a}.{leaf}"], ["{leaf}.{x:l|r}.{a}"], "", ()),
    (["{p:path}.w"], ["new.{p}"], "", ()),
]


def in_pattern(source: str, key: str) -> dict[str, str] | None:
    """A pattern of the table as a plain regular expression."""
    kinds = {"int": "[0-9]+", "path": ".*"}
    text = re.sub(
        r"\{(\w+)(?::([\w|]+))?\}",
        lambda each: f"(?P<{each[1]}>{kinds.get(each[2], each[2] or '[^.]+')})",
        re.escape(source).replace("\\{", "{").replace("\\}", "}").replace("\\|", "|"),
    )
    if "path" in source:
        text = text.replace(r".*)\.", r".*?)\.?")
    found = re.fullmatch(text, key)
    return None if found is None or ("path" in source and key != "w" and not key.endswith(".w")) else found.groupdict()


def expanded(target: str, captures: dict[str, str]) -> str:
    """A target of the table, by plain replacement."""
    for name, value in captures.items():
        target = target.replace(f"{{{name}}}", value)
        target = target.replace(f"{{{name}+1}}", str(int(value) + 1) if value.isdigit() else "")
    return target.removesuffix(".")


def judged(keys: list[str], sources: list[str], targets: list[str], folded: str, values: Any) -> list[tuple[Any, Any]] | None:
    """(inputs, outputs) of every group, by trying each key with each source; None where it has to be refused."""
    found: dict[tuple[str, ...], dict[Any, str]] = {}
    captured = {}
    for key in keys:
        matches = [(at, captures) for at, source in enumerate(sources) if (captures := in_pattern(source, key)) is not None]
        if len(matches) > 1:
            return None
        for at, captures in matches:
            name = captures.pop(folded) if folded else at
            name = int(name) if folded and values is None else name
            common = tuple(value for _, value in sorted(captures.items())) if folded or len(sources) > 1 else (key,)
            if name in found.setdefault(common, {}):
                return None
            found[common][name] = key
            captured[common] = captures
    groups = []
    for common, members in found.items():
        wanted = list(values or range(max(members) + 1)) if folded else list(range(len(sources)))
        if set(wanted) != set(members):
            return None
        unfolded = re.search(r"\{x:l\|r\}", targets[0])
        outputs = [targets[0].replace("{x:l|r}", side) for side in "lr"] if unfolded else targets
        groups.append((tuple(members[name] for name in wanted), tuple(expanded(output, captured[common]) for output in outputs)))
    made = [output for _, outputs in groups for output in outputs]
    return groups if len(set(made)) == len(made) else None


@pytest.mark.parametrize(("sources", "targets", "folded", "values"), SCHEMES, ids=str)
@settings(max_examples=150)
@given(keys=KEYS)
def test_groups_are_those_which_trying_every_key_finds(
    sources: list[str], targets: list[str], folded: str, values: Any, keys: list[str]
) -> None:
    found = grouped(keys, sources, targets)
    assert found == judged(keys, sources, targets, folded, values)


def grouped(keys: list[str], sources: list[str], targets: list[str]) -> list[tuple[Any, Any]] | None:
    """(inputs, outputs) of every group; None where they are refused."""
    try:
        made = group(keys, [Pattern.parse(text) for text in sources], [Template.parse(text) for text in targets])
    except RulesError:
        return None
    return [(one.inputs, one.outputs) for one in made]


# folding for display

NUMBERED = st.lists(
    st.lists(st.sampled_from(["a", "b", "0", "1", "2", "03", "x1", "12", "{", "9"]), min_size=1, max_size=4).map(".".join), max_size=40
)


def unfolded(text: str) -> list[str]:
    """The keys of a folded line, by writing its braces out."""
    pieces = re.split(r"(\{[0-9][0-9.,]*\})", text)
    choices = []
    for piece in pieces:
        if not re.fullmatch(r"\{[0-9][0-9.,]*\}", piece):
            choices.append([piece])
            continue
        ends = [run.split("..") for run in piece[1:-1].split(",")]
        choices.append([str(number) for run in ends for number in range(int(run[0]), int(run[-1]) + 1)])
    return ["".join(choice) for choice in itertools.product(*choices)]


@settings(max_examples=300)
@given(NUMBERED)
def test_each_key_is_in_exactly_one_line_and_none_is_added(keys: list[str]) -> None:
    blocks = fold(keys)
    written = [key for text, count in blocks for key in (unfolded(text) if count > 1 else [text])]
    assert sorted(written) == sorted(set(keys))
    assert len(blocks) <= len(set(keys))


@settings(max_examples=100)
@given(NUMBERED, st.randoms(use_true_random=False))
def test_the_lines_do_not_depend_on_the_order_of_the_keys(keys: list[str], rng: Any) -> None:
    mixed = rng.sample(keys, len(keys))
    assert sorted(fold(mixed)) == sorted(fold(keys))


@pytest.mark.parametrize("number", [1_000, 100_000])
def test_folding_looks_at_each_key_a_few_times_however_many_there_are(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, not timed: each look takes one number off a key, and each key is cut up once."""
    cut_up, looks = [0], [0]
    split, products = display._split, display._products

    def counted_split(key: str) -> Any:
        cut_up[0] += 1
        return split(key)

    def counted_products(points: list[Any]) -> Any:
        looks[0] += len(points)
        return products(points)

    monkeypatch.setattr(display, "_split", counted_split)
    monkeypatch.setattr(display, "_products", counted_products)
    keys = [f"h.{at % 97}.e.{at // 97}.{at % 3}.w" for at in range(number)]
    blocks = fold(keys)
    assert sum(count for _, count in blocks) == number
    assert cut_up[0] == number
    assert looks[0] <= 3 * number, "once for each of the three numbers in a key"


# names for people

HOSTILE = [
    "\x00", "\x07", "\x08", "\x1b[2J", "\x7f", "\x85", "\x9b31m", "\u061c", "\u200b", "\u200d", "\u200e", "\u200f", "\u2028", "\u2029",
    "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060", "\u2066", "\u2067", "\u2068", "\u2069", "\ufeff", "\ufff9", "\U000e0001",
    "\U000e0041", "\ud800", "\udfff", "\n", "\r", "\t", "\v", "\f", "\u3000", "\xad", "\ufdd0", "\U0010ffff", "\u115f", "\ufe0f",
]  # fmt: skip
NAMES = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8), st.sampled_from(["a.b", "\\", "層"])), max_size=30).map("".join)
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN", "B", "S"}


def is_plain(character: str) -> bool:
    """Whether a terminal shows it, as itself, where it stands: by Unicode's tables."""
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return False
    return unicodedata.bidirectional(character) not in TURNING


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_hostile_character_is_printed(text: str) -> None:
    shown = escape(f"a{text}b")
    assert shown.startswith("a\\")
    assert all(map(is_plain, shown))
    assert text[0] not in shown


@settings(max_examples=500)
@given(NAMES, st.integers(8, 150))
def test_whatever_a_file_calls_a_tensor_is_one_plain_line(name: str, limit: int) -> None:
    shown = escape(name, limit)
    assert all(map(is_plain, shown))
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= limit
    shown.encode("utf-8")


@settings(max_examples=300)
@given(NAMES)
def test_an_escaped_name_can_be_read_back(name: str) -> None:
    """No two names look alike: what is escaped is Python's own notation."""
    shown = escape(name, 10_000)
    codes = r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))"
    plain = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}

    def read(found: re.Match[str]) -> str:
        return plain[found[4]] if found[4] else chr(int(found[1] or found[2] or found[3], 16))

    assert re.sub(codes, read, shown) == name
