"""Node: a part of a document, which is asked for what should stand there and complains where something else does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field, replace
from typing import Any, TypeVar

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.rules.document import Document, Place

__all__ = ["MAX_PROBLEMS", "NOTHING", "Node", "shown"]

MAX_PROBLEMS = 50  # told at once; a file with more is wrong in one way, many times
_MARK = re.compile(r":([0-9]+):([0-9]+)$")
NOTHING = 'YAML reads ~ and null as nothing: quote the name, "~" or "null", if it is one.'
_MAX_SHOWN = 60  # characters of a wrong value

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Node:
    """`data` at `place` of `document`. Complaints go to `problems`, which all nodes of a document share."""

    document: Document
    data: Any
    place: Place = ()
    problems: list[Problem] = field(default_factory=list)

    def child(self, part: str | int) -> Node:
        """What stands under a key or an index."""
        return replace(self, data=self.data[part], place=(*self.place, part))

    def complain(self, what: str, hint: str = "", *, key: bool = False) -> None:
        """Note a problem with this part; with `key`, with the key which leads to it."""
        self.problems.append(Problem(what, self.document.where(self.place, key=key), hint))

    def blame(self, error: RulesError) -> None:
        """Note the problems of an error which does not know where it happened."""
        self.problems.extend(error.located(self.document.where(self.place)).problems)

    def finish(self, result: Parsed) -> Parsed:
        """The result, or RulesError with every complaint, in the order of the lines."""
        if not self.problems:
            return result
        told = sorted(self.problems, key=lambda problem: _line_and_column(problem.where))
        rest = len(told) - MAX_PROBLEMS
        more = [Problem(f"and {rest} more problems")] if rest > 0 else []
        raise RulesError([*told[:MAX_PROBLEMS], *more])

    def is_mapping(self, what: str) -> bool:
        """Whether this is a mapping with text as keys; complains otherwise."""
        if not isinstance(self.data, dict):
            self.complain(f"{what} is a mapping; found {shown(self.data)}")
            return False
        wrong = next((key for key in self.data if not isinstance(key, str)), None)
        if wrong is not None:
            self.complain(f"{what} has the key {shown(wrong)}, which is no text")
        return wrong is None

    def words(self, known: Collection[str], what: str, ignored: Collection[str] = ()) -> Iterator[Node]:
        """The child under each known key, in order of `known`; complains of the other keys."""
        for key in self.data:
            if key not in known and key not in ignored:
                self.unknown(key, known, what)
        return (self.child(key) for key in known if key in self.data)

    def unknown(self, key: str, known: Collection[str], what: str) -> None:
        """Complain of a key, with the nearest known one."""
        near = nearest(key, known) if len(self.problems) < MAX_PROBLEMS else None  # what is not told needs no hint
        hint = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}." if known else ""
        self.child(key).complain(f"{what}: unknown word '{escape(key)}'", hint, key=True)

    def parsed(self, parse: Callable[[str], Parsed], what: str, kind: str = "a pattern") -> tuple[Parsed, ...]:
        """Patterns or templates from a text or a list of texts."""
        items = [self.child(at) for at in range(len(self.data))] if isinstance(self.data, list | tuple) else [self]
        if not items:
            self.complain(f"{what} is an empty list", hint=f"Give {kind}, or leave {what} out.")
        return tuple(found for item in items for found in item._parsed_text(parse, what, kind))

    def patterns(self, what: str) -> tuple[Pattern, ...]:
        """Patterns from a text or a list of texts."""
        return self.parsed(Pattern.parse, what)

    def _parsed_text(self, parse: Callable[[str], Parsed], what: str, kind: str) -> list[Parsed]:
        if not isinstance(self.data, str):
            hint = NOTHING if self.data is None else "Quote it: YAML reads it as something else than text."
            self.complain(f"{what} is {kind} or a list of them; found {shown(self.data)}", hint)
            return []
        try:
            return [parse(self.data)]
        except RulesError as error:
            self.blame(error)
            return []

    def text(self, what: str) -> str:
        """A text; empty after a complaint."""
        if isinstance(self.data, str):
            return self.data
        self.complain(f"{what} is text; found {shown(self.data)}", "Quote it.")
        return ""

    def word(self, what: str, allowed: Sequence[str]) -> str:
        """One of the allowed words."""
        if isinstance(self.data, str) and self.data in allowed:
            return self.data
        self.complain(f"{what} is {shown(self.data)}; allowed: {', '.join(allowed)}")
        return allowed[0]

    def flag(self, what: str) -> bool:
        """True or false."""
        if isinstance(self.data, bool):
            return self.data
        self.complain(f"{what} is true or false; found {shown(self.data)}")
        return False

    def integer(self, what: str) -> int:
        """A whole number which is not negative."""
        if isinstance(self.data, int) and not isinstance(self.data, bool) and self.data >= 0:
            return self.data
        self.complain(f"{what} is a whole number of at least 0; found {shown(self.data)}")
        return 0

    def number(self, what: str) -> float:
        """A finite number which is not negative."""
        if isinstance(self.data, int | float) and not isinstance(self.data, bool) and 0 <= self.data < float("inf"):
            return float(self.data)
        self.complain(f"{what} is a number of at least 0; found {shown(self.data)}")
        return 0.0


def _line_and_column(where: str) -> tuple[int, ...]:
    """What `where` ends with; nothing for a place in a value which Python made: such keep their order."""
    found = _MARK.search(where)
    return (int(found[1]), int(found[2])) if found else ()


def shown(value: object) -> str:
    """A wrong value, in short."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return escape(str(value).lower() if isinstance(value, bool) else repr(value), _MAX_SHOWN)
