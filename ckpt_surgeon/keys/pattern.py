"""Pattern: matches a whole key, segment by segment, and captures parts of it. No substring ever matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.aliases import of_source, split_alias
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.literals import literal_of_segments
from ckpt_surgeon.keys.syntax import REGEX_PREFIX, Braced, Capture, Plain, Segment, parse_capture, parse_segments
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Pattern", "quoted"]

_MAX_CHOICES = 4  # ints and alternatives in one segment; each may multiply the ways to read it
_MAX_KEY = 65_536  # characters; the longest honest key seen has some 200, and each dot takes 100 bytes while it is matched
_CACHE_SIZE = 16384  # patterns; a rules file which renames key by key has one for each

_ANY_SEGMENTS = r"(?:[^.]*\.)*"
_RULE_OF_GAPS = "Put a fixed character between them, or capture them as one."

_Match = Callable[[str], dict[str, str] | None]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; equal to another of the same text.

    captures: name -> what it takes, in the order written. alias: of `alias::rest`, which matches such keys whole; else empty.
    """

    text: str
    captures: Mapping[str, Capture] = field(compare=False, repr=False)
    is_literal: bool = field(compare=False, repr=False)
    _match: _Match = field(compare=False, repr=False)
    alias: str = field(default="", compare=False, repr=False)

    @staticmethod
    def parse(text: str) -> Pattern:
        """The pattern which `text` writes.

        >>> Pattern.parse("layer{i:int}.**.{leaf:weight|bias}").match("layer1.0.conv1.weight")
        {'i': '1', 'leaf': 'weight'}

        Raises RulesError, without a place, when the text is no pattern.
        """
        return _parse(text)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the captures, in the order written."""
        return tuple(self.captures)

    def match(self, key: str) -> dict[str, str] | None:
        """The captures, as written in the key, or None when the key does not match.

        Raises RulesError when a `re:` pattern takes too long, or the key is far too long to be one.
        """
        return self._match(key)

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[[str], Pattern], tuple[str]]:
        return Pattern.parse, (self.text,)


def quoted(key: str) -> str:
    """The text of a pattern which matches `key` and nothing else."""
    if key and not key.startswith(REGEX_PREFIX) and not re.search(r"[*{}]", key):
        return key
    return REGEX_PREFIX + (re.escape(key) or "(?:)")


@lru_cache(maxsize=_CACHE_SIZE)
def _parse(text: str) -> Pattern:
    alias, rest = split_alias(text)
    if alias:
        return _behind(alias, _parse(rest))
    if text.startswith(REGEX_PREFIX):
        from ckpt_surgeon.keys.regular import compile_regex

        captures, match = compile_regex(text)
        return Pattern(text, MappingProxyType(captures), False, match)
    segments = parse_segments(text)
    if all(isinstance(piece, Plain) and "*" not in piece.text for segment in segments for piece in segment):
        return Pattern(text, MappingProxyType({}), True, lambda key: {} if key == text else None)
    try:
        captures, source = _compile(segments)
    except RulesError as error:
        raise RulesError(f"'{escape(text)}': {error.problems[0].what}", hint=error.hint) from None
    return Pattern(text, MappingProxyType(captures), False, _matcher(text, re.compile(source), captures, literal_of_segments(segments)))


def _behind(alias: str, rest: Pattern) -> Pattern:
    """The pattern of the keys `alias::key` whose `key` the rest matches."""
    start = of_source(alias, "")

    def match(key: str) -> dict[str, str] | None:
        return rest.match(key[len(start) :]) if key.startswith(start) else None

    return Pattern(start + rest.text, rest.captures, rest.is_literal, match, alias)


def _matcher(text: str, compiled: re.Pattern[str], captures: Mapping[str, Capture], literal: str) -> _Match:
    paths = tuple(name for name, capture in captures.items() if capture.kind == "path")
    names = tuple(captures)

    def match(key: str) -> dict[str, str] | None:
        if literal not in key:
            return None
        if len(key) > _MAX_KEY:
            raise RulesError(f"'{escape(text)}': the key {escape(key)} has {len(key)} characters; at most {_MAX_KEY} are matched")
        found = compiled.fullmatch(key + ".")  # each segment ends with a dot, so that an empty path takes its own away
        if found is None:
            return None
        values = {name: found[name] for name in names}
        for name in paths:
            values[name] = values[name][:-1]
        return values

    return match


def _compile(segments: tuple[Segment, ...]) -> tuple[dict[str, Capture], str]:
    """The captures, and the regular expression over a key with a dot at its end.

    A run of segments between two paths is atomic: it stands where it first fits, since the next path can take up whatever follows.
    So no choice of a path is ever taken back, and matching stays linear in the number of paths.
    """
    captures: dict[str, Capture] = {}
    runs = [""]
    for segment in segments:
        tokens = list(_tokens(segment, captures))
        path = next((token for token in tokens if token[0] == "path"), None)
        if path is None:
            runs[-1] += _segment_source(tokens)
            continue
        if len(tokens) > 1:
            raise RulesError("`**` and paths stand for whole segments", hint="Set dots around it: `a.**.b`, `a.{p:path}.b`.")
        runs.append(_group(path[1], _ANY_SEGMENTS + "?"))
    first, *others = runs
    return captures, first + "".join([*(f"(?>{run})" for run in others[:-1]), *others[-1:]])


def _tokens(segment: Segment, captures: dict[str, Capture]) -> Iterator[tuple[str, str, Capture | None]]:
    """(`literal` | `star` | kind of a capture, its text or name, the capture); fills `captures`."""
    for piece in segment:
        if isinstance(piece, Braced):
            name, capture = parse_capture(piece.body)
            if name in captures:
                raise RulesError(f"the name {name!r} is captured twice", hint="Give each capture a name of its own.")
            if name:
                captures[name] = capture
            yield capture.kind, name, capture
            continue
        for text in re.findall(r"\*+|[^*]+", piece.text):
            if len(text) > 2 and text[0] == "*":
                raise RulesError(f"{text!r} is no wildcard", hint="`*` is a run without a dot, `**` any number of segments.")
            yield {"*": "star", "**": "path"}.get(text, "literal"), "" if text[0] == "*" else text, None


def _segment_source(tokens: list[tuple[str, str, Capture | None]]) -> str:
    """One segment with its dot. Atomic, since it has to end at that dot: how it was read is never taken back."""
    kinds = [kind for kind, _, _ in tokens]
    if kinds.count("int") + kinds.count("alternatives") > _MAX_CHOICES:
        raise RulesError(f"more than {_MAX_CHOICES} numbers and alternatives in one segment", hint="Use a `re:` pattern.")
    for pair in pairwise(kinds):
        if set(pair) <= {"star", "text"} or set(pair) == {"int"}:
            raise RulesError("two wildcards side by side: nothing says where the one ends", hint=_RULE_OF_GAPS)
    parts = [_token_source(*token) for token in tokens]
    for at in range(len(kinds) - 2):
        if kinds[at] in _GAPS and kinds[at + 1] == "literal" and kinds[at + 2] in _GAPS:
            parts[at], parts[at + 1] = f"(?>{parts[at]}", f"{parts[at + 1]})"
    body = "".join(parts)
    return rf"{body}\." if set(kinds) <= {"literal"} else rf"(?>{body}\.)"


_GAPS = ("star", "text")


def _token_source(kind: str, text: str, capture: Capture | None) -> str:
    if kind == "literal":
        return re.escape(text)
    if kind == "alternatives" and capture is not None:
        return _group(text, "|".join(map(re.escape, capture.values)))
    return _group(text, {"star": "[^.]*?", "text": "[^.]+?", "int": "[0-9]+"}[kind])


def _group(name: str, source: str) -> str:
    return f"(?P<{name}>{source})" if name else f"(?:{source})"
