"""The text of patterns and templates -> segments of pieces. Shared by both; knows no meaning of a wildcard."""

from __future__ import annotations

import re
from typing import Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MAX_LENGTH", "REGEX_PREFIX", "Braced", "Capture", "CaptureKind", "Piece", "Plain", "Segment", "parse_capture", "parse_segments"]

MAX_LENGTH = 4096  # characters; the longest honest key seen has some 200
REGEX_PREFIX = "re:"  # what follows is no pattern of ours, but a regular expression
_MAX_NAME = 64
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{_MAX_NAME - 1}}}")
_BRACES = re.compile(r"[{}]")

CaptureKind = Literal["int", "text", "path", "alternatives", "regex"]


@dataclass(frozen=True, slots=True)
class Capture:
    """What a capture takes; `values` are the alternatives in the order written."""

    kind: CaptureKind
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "|".join(self.values) if self.kind == "alternatives" else self.kind


@dataclass(frozen=True, slots=True)
class Plain:
    """Characters outside braces."""

    text: str


@dataclass(frozen=True, slots=True)
class Braced:
    """What stands between two braces."""

    body: str


Piece = Plain | Braced
Segment = tuple[Piece, ...]


def parse_segments(text: str) -> tuple[Segment, ...]:
    """Cut at the dots which stand outside braces.

    Raises RulesError: empty, too long, an unbalanced brace, an empty pair of braces.
    """
    if not text:
        raise RulesError("an empty pattern", hint="A pattern names a whole key; `**` matches every key.")
    if len(text) > MAX_LENGTH:
        raise RulesError(f"a pattern of {len(text)} characters; at most {MAX_LENGTH} are allowed")
    segments: list[list[Piece]] = [[]]
    for piece in _pieces(text):
        if isinstance(piece, Braced):
            segments[-1].append(piece)
            continue
        first, *others = piece.text.split(".")
        segments[-1] += [Plain(first)] if first else []
        segments += [[Plain(part)] if part else [] for part in others]
    return tuple(tuple(segment) for segment in segments)


def _pieces(text: str) -> list[Piece]:
    found: list[Piece] = []
    start, opened = 0, -1
    for brace in _BRACES.finditer(text):
        at = brace.start()
        if (brace[0] == "{") == (opened >= 0):
            raise _unbalanced(text, at)
        if brace[0] == "{":
            found += [Plain(text[start:at])] if at > start else []
            opened = at
            continue
        found.append(Braced(text[opened + 1 : at]))
        start, opened = at + 1, -1
    if opened >= 0:
        raise _unbalanced(text, opened)
    return [*found, Plain(text[start:])] if start < len(text) else found


def _unbalanced(text: str, at: int) -> RulesError:
    return RulesError(
        f"'{escape(text)}': unbalanced {text[at]!r} at character {at + 1}",
        hint="Braces come in pairs and not inside each other; a key which holds a brace needs a `re:` pattern.",
    )


def parse_capture(body: str) -> tuple[str, Capture]:
    """`i:int` -> (`i`, an int); the name of anonymous alternatives is empty.

    Raises RulesError for a bad name, an unknown type or bad alternatives.
    """
    name, colon, kind = body.partition(":")
    if not colon and "|" in body:
        return "", _alternatives(body, body)
    if not _NAME.fullmatch(name):
        raise RulesError(
            f"{{{body}}}: {name!r} is no name of a capture",
            hint=f"A name starts with a letter and goes on with at most {_MAX_NAME - 1} letters, digits and underscores.",
        )
    if not colon:
        return name, Capture("text")
    if "|" in kind:
        return name, _alternatives(body, kind)
    if kind == "int":
        return name, Capture("int")
    if kind == "path":
        return name, Capture("path")
    raise RulesError(
        f"{{{body}}}: unknown type {kind!r} of a capture",
        hint="Known: {name}, {name:int}, {name:path}, {name:one|two}.",
    )


def _alternatives(body: str, text: str) -> Capture:
    values = tuple(text.split("|"))
    bad = next((value for value in values if not value or value != value.strip() or "." in value or "*" in value), None)
    if bad is not None:
        raise RulesError(
            f"{{{body}}}: {bad!r} cannot be an alternative",
            hint="Alternatives are literal parts of one segment: not empty, without dots, stars and outer blanks.",
        )
    if len(set(values)) < len(values):
        raise RulesError(f"{{{body}}}: the same alternative stands there twice")
    return Capture("alternatives", values)
