"""`re:REGEX` patterns: a full match of a regular expression with named groups, within a time limit."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.literals import literal_of_regex
from ckpt_surgeon.keys.patience import PATIENCE
from ckpt_surgeon.keys.syntax import REGEX_PREFIX, Capture
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import regex

__all__ = ["compile_regex", "require_small"]

_MAX_LENGTH = 1024  # characters; hand-written expressions stay far below
# Characters once all counts are written out, as the compiler does, which takes 0.3 us and 300 bytes for each, and no time limit holds it.
_MAX_WRITTEN_OUT = 200_000
_FREE_WRITTEN_OUT = 1_000  # of each expression; honest ones have hundreds
_MAX_ALL_WRITTEN_OUT = 400_000  # of all expressions together, beyond what is free
_MAX_DIGITS = 9  # of a count; more say no more than that it is too large
# A count with what stands before it; with (?x), blanks and comments may stand between its digits.
_COUNT = re.compile(r"(.?)\{((?:[0-9\s]|#[^\n]*\n)*[0-9])", re.DOTALL)

_CACHE_SIZE = 16384  # expressions, each of which is accounted for once
_HINT = "Write + or * where any number will do."

_Match = Callable[[str], dict[str, str] | None]


def compile_regex(text: str) -> tuple[dict[str, Capture], _Match]:
    """The captures (the named groups) and the matcher of `re:...`.

    Raises RulesError when the expression is empty, too long or wrong; the matcher raises what `Patience.search` does.
    """
    source = text.removeprefix(REGEX_PREFIX)
    compiled = _compiled(source)
    names = sorted(compiled.groupindex, key=lambda name: compiled.groupindex[name])

    literal = literal_of_regex(source)

    def match(key: str) -> dict[str, str] | None:
        found = PATIENCE.search(text, key, lambda seconds: compiled.fullmatch(key, timeout=seconds), literal)
        return None if found is None else {name: found[name] or "" for name in names}

    return dict.fromkeys(names, Capture("regex")), match


@lru_cache(maxsize=_CACHE_SIZE)
def require_small(source: str) -> None:
    """RulesError when the counts of an expression, such as those of `((a{200}){200}){200}`, multiply beyond what can be compiled."""
    nested, own = [], len(source)
    for before, text in _COUNT.findall(source):
        digits = re.sub(r"\s|#[^\n]*\n", "", text)[:_MAX_DIGITS]
        if before in (")", "}") or before.isspace():
            nested.append(max(int(digits), 1))
        else:
            own += int(digits)
    _ROOM.take(source, own * prod(nested))


@dataclass(slots=True)
class _Room:
    """The characters which the expressions of this process had written out beyond what is free; compiled ones are kept."""

    taken: int = 0

    def take(self, source: str, count: int) -> None:
        """Account for an expression. RulesError when it alone, or all together, are too large; one within what is free never is."""
        if count > _MAX_WRITTEN_OUT:
            raise RulesError(f"{escape(source)}: its counts repeat it to more than {_MAX_WRITTEN_OUT} characters", hint=_HINT)
        beyond = max(count - _FREE_WRITTEN_OUT, 0)
        if beyond and self.taken + beyond > _MAX_ALL_WRITTEN_OUT:
            what = f"its counts repeat it to {count} characters, those of all expressions together to more than {_MAX_ALL_WRITTEN_OUT}"
            raise RulesError(f"{escape(source)}: {what}", hint=_HINT)
        self.taken += beyond


_ROOM = _Room()


def _compiled(source: str) -> regex.Pattern[str]:
    import regex

    if not source or len(source) > _MAX_LENGTH:
        raise RulesError(f"a regular expression of {len(source)} characters; 1 to {_MAX_LENGTH} are allowed")
    require_small(source)
    try:
        return regex.compile(source, regex.VERSION0)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise RulesError(f"{escape(source)}: no regular expression: {error}", hint="After `re:` stands Python's syntax.") from None
