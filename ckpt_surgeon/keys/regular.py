"""`re:REGEX` patterns: a full match of a regular expression with named groups, within a time limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.syntax import Capture

if TYPE_CHECKING:
    import regex

__all__ = ["PREFIX", "compile_regex"]

PREFIX = "re:"
_MAX_LENGTH = 1024  # characters; hand-written expressions stay far below
_MAX_KEY = 4096  # characters; the longest honest key seen has some 200
_TIME_LIMIT = 0.25  # seconds for one key; an honest expression takes microseconds

_Match = Callable[[str], dict[str, str] | None]


def compile_regex(text: str) -> tuple[dict[str, Capture], _Match]:
    """The captures (the named groups) and the matcher of `re:...`.

    Raises RulesError when the expression is empty, too long or wrong; the matcher raises it when a key takes too long.
    """
    source = text.removeprefix(PREFIX)
    compiled = _compiled(source)
    names = sorted(compiled.groupindex, key=lambda name: compiled.groupindex[name])

    def match(key: str) -> dict[str, str] | None:
        if len(key) > _MAX_KEY:
            raise RulesError(f"{escape(text)}: the key {escape(key)} has {len(key)} characters; at most {_MAX_KEY} are matched")
        try:
            found = compiled.fullmatch(key, timeout=_TIME_LIMIT)
        except TimeoutError:
            raise RulesError(
                f"{escape(text)}: took over {_TIME_LIMIT} s on the key {escape(key)}",
                hint="Nested repetitions such as (a+)+ take exponential time; write the expression without them.",
            ) from None
        return None if found is None else {name: found[name] or "" for name in names}

    return dict.fromkeys(names, Capture("regex")), match


def _compiled(source: str) -> regex.Pattern[str]:
    import regex

    if not source or len(source) > _MAX_LENGTH:
        raise RulesError(f"a regular expression of {len(source)} characters; 1 to {_MAX_LENGTH} are allowed")
    try:
        return regex.compile(source, regex.VERSION0)
    except (regex.error, OverflowError, RecursionError) as error:
        raise RulesError(f"{escape(source)}: no regular expression: {error}", hint="After `re:` stands Python's syntax.") from None
