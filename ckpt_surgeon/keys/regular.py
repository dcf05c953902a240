"""`re:REGEX` patterns: a full match of a regular expression with named groups, within a time limit."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.patience import PATIENCE
from ckpt_surgeon.keys.syntax import Capture

if TYPE_CHECKING:
    import regex

__all__ = ["PREFIX", "compile_regex", "require_small"]

PREFIX = "re:"
_MAX_LENGTH = 1024  # characters; hand-written expressions stay far below
# Characters once all counts are written out, as the compiler does: 0.1 s and 60 MB, and no time limit holds it. Honest ones have hundreds.
_MAX_WRITTEN_OUT = 200_000
_MAX_DIGITS = 9  # of a count; more say no more than that it is too large
# A count with what stands before it; with (?x), blanks and comments may stand between its digits.
_COUNT = re.compile(r"(.?)\{((?:[0-9\s]|#[^\n]*\n)*[0-9])", re.DOTALL)

_Match = Callable[[str], dict[str, str] | None]


def compile_regex(text: str) -> tuple[dict[str, Capture], _Match]:
    """The captures (the named groups) and the matcher of `re:...`.

    Raises RulesError when the expression is empty, too long or wrong; the matcher raises what `Patience.search` does.
    """
    source = text.removeprefix(PREFIX)
    compiled = _compiled(source)
    names = sorted(compiled.groupindex, key=lambda name: compiled.groupindex[name])

    def match(key: str) -> dict[str, str] | None:
        found = PATIENCE.search(text, key, lambda seconds: compiled.fullmatch(key, timeout=seconds))
        return None if found is None else {name: found[name] or "" for name in names}

    return dict.fromkeys(names, Capture("regex")), match


def require_small(source: str) -> None:
    """RulesError when the counts of an expression, such as those of `((a{200}){200}){200}`, multiply beyond what can be compiled."""
    nested, own = [], len(source)
    for before, text in _COUNT.findall(source):
        digits = re.sub(r"\s|#[^\n]*\n", "", text)[:_MAX_DIGITS]
        if before in (")", "}") or before.isspace():
            nested.append(max(int(digits), 1))
        else:
            own += int(digits)
    if own * prod(nested) > _MAX_WRITTEN_OUT:
        raise RulesError(
            f"{escape(source)}: its counts repeat it to more than {_MAX_WRITTEN_OUT} characters",
            hint="Write + or * where any number will do.",
        )


def _compiled(source: str) -> regex.Pattern[str]:
    import regex

    if not source or len(source) > _MAX_LENGTH:
        raise RulesError(f"a regular expression of {len(source)} characters; 1 to {_MAX_LENGTH} are allowed")
    require_small(source)
    try:
        return regex.compile(source, regex.VERSION0)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise RulesError(f"{escape(source)}: no regular expression: {error}", hint="After `re:` stands Python's syntax.") from None
