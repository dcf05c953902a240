"""Laws of patterns and templates, on generated ones: a slow plain matcher is the judge."""

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.keys.template import Template

# A token is (kind, text or alternatives); a segment is a list of tokens, or one path.
Token = tuple[str, str]


def ways(tokens: list[Token], text: str) -> Iterator[list[str]]:
    """Every way to cut a segment into what its tokens take, the preferred one first."""
    if not tokens:
        if not text:
            yield []
        return
    (kind, body), rest = tokens[0], tokens[1:]
    for taken in takes(kind, body, text):
        for others in ways(rest, text[len(taken) :]):
            yield [taken, *others]


def takes(kind: str, body: str, text: str) -> list[str]:
    if kind == "literal":
        return [body] if text.startswith(body) else []
    if kind == "alternatives":
        return [value for value in body.split("|") if text.startswith(value)]
    if kind == "int":
        digits = len(text) - len(text.lstrip("0123456789"))
        return [text[:length] for length in range(digits, 0, -1)]
    return [text[:length] for length in range(0 if kind == "star" else 1, len(text) + 1)]


def all_ways(segments: list[list[Token]], parts: list[str]) -> Iterator[list[str]]:
    """Every way to lay the segments of a pattern on those of a key; short paths first."""
    if not segments:
        if not parts:
            yield []
        return
    first, rest = segments[0], segments[1:]
    if first[0][0] == "path":
        for length in range(len(parts) + 1):
            for others in all_ways(rest, parts[length:]):
                yield [".".join(parts[:length]), *others]
        return
    if parts:
        for taken in ways(first, parts[0]):
            for others in all_ways(rest, parts[1:]):
                yield [*taken, *others]


def judged(segments: list[list[Token]], key: str) -> dict[str, str] | None:
    found = next(all_ways(segments, key.split(".")), None)
    if found is None:
        return None
    flat = [kind for segment in segments for kind, _ in segment]
    return {f"c{at}": value for at, (kind, value) in enumerate(zip(flat, found, strict=True)) if kind in CAPTURING}


CAPTURING = ("int", "text", "path", "alternatives")


def written(segments: list[list[Token]]) -> str:
    at = -1
    texts = []
    for segment in segments:
        text = ""
        for kind, body in segment:
            at += 1
            text += {
                "literal": body,
                "star": "*",
                "text": f"{{c{at}}}",
                "int": f"{{c{at}:int}}",
                "path": f"{{c{at}:path}}",
                "alternatives": f"{{c{at}:{body}}}",
            }[kind]
        texts.append(text)
    return ".".join(texts)


def is_allowed(segment: list[Token]) -> bool:
    kinds = [kind for kind, _ in segment]
    pairs = [set(pair) for pair in pairwise(kinds)]
    return not any(pair <= {"star", "text"} or pair == {"int"} for pair in pairs) and kinds.count("int") + kinds.count("alternatives") <= 4


LITERALS = st.tuples(st.just("literal"), st.sampled_from(["a", "b", "1", "ab", "a1", "+"]))
TOKENS = st.one_of(
    LITERALS,
    LITERALS,
    st.tuples(st.sampled_from(["star", "text", "int"]), st.just("")),
    st.tuples(st.just("alternatives"), st.sampled_from(["a|b", "a|ab", "ab|a", "1|11"])),
)
SEGMENTS = st.one_of(st.lists(TOKENS, min_size=1, max_size=4).filter(is_allowed), st.just([("path", "")]))
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=5)
KEYS = st.lists(st.text(alphabet="ab1+", min_size=1, max_size=5), min_size=1, max_size=6).map(".".join)


@settings(max_examples=600, deadline=None)
@given(PATTERNS, KEYS)
def test_a_match_is_what_the_plain_matcher_finds_first(segments, key):
    assert Pattern.parse(written(segments)).match(key) == judged(segments, key)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, st.data())
def test_a_key_made_from_a_pattern_is_matched_and_a_template_of_the_same_text_gives_it_back(segments, data):
    segments = [[token for token in segment if token[0] != "star"] or [("literal", "a")] for segment in segments]
    assume(all(map(is_allowed, segments)))
    text = written(segments)
    values = {name: data.draw(value_of(capture)) for name, capture in Pattern.parse(text).captures.items()}
    template = Template.parse(text)
    assume(any(segment[0][0] != "path" for segment in segments) or any(values.values()))
    key = template.expand(values)
    found = Pattern.parse(text).match(key)
    assert found is not None
    assert template.expand(found) == key


def value_of(capture):
    if capture.kind == "alternatives":
        return st.sampled_from(capture.values)
    if capture.kind == "int":
        return st.integers(0, 999).map(str)
    if capture.kind == "path":
        return st.lists(st.sampled_from(["a", "b1"]), max_size=3).map(".".join)
    return st.text(alphabet="ab1+", min_size=1, max_size=4)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_a_quoted_key_matches_only_itself(key, other):
    pattern = Pattern.parse(quoted(key))
    assert pattern.match(key) == {}
    assert (pattern.match(other) is not None) == (key == other)
