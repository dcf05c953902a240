"""sub: names by regular expressions, as other tools have them; for importing those."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.literals import literal_of_regex
from ckpt_surgeon.keys.patience import PATIENCE
from ckpt_surgeon.keys.regular import require_small
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, text_pairs
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Edit, Move

if TYPE_CHECKING:
    import regex

    _Pair = tuple[regex.Pattern[str], str, str]  # expression, replacement, what every key holds in which it finds something

__all__ = ["Sub"]

_MAX_LENGTH = 1024  # characters of an expression or a replacement; hand-written ones stay far below
_MAX_NAME = 65_536  # characters put into one name; a group may be put in hundreds of times at each place
_MAX_PAIRS = 1000  # each is tried on each key; other tools' tables have tens


@dataclass(frozen=True, slots=True)
class Sub(NameDefaults):
    """Replace, anywhere in a key, what a regular expression finds; of several pairs the first which finds something.

    Source: `re.sub` as transformers' `key_mapping` uses it, pair by pair until one replaces. mmengine's `revise_keys`, where
    every pair is applied to what the one before left, is one rule for each pair.

    >>> Sub({"^visual": "model.visual", "^model": "model.language"}).edits(["visual.proj", "model.norm", "lm_head"], None)
    [Move(source='visual.proj', target='model.visual.proj'), Move(source='model.norm', target='model.language.norm')]
    """

    name: ClassVar[str] = "sub"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        assign(self, pairs=text_pairs(self.pairs, self.name, blank=True))
        if len(self.pairs) > _MAX_PAIRS:
            raise RulesError(f"sub: {len(self.pairs)} pairs; at most {_MAX_PAIRS} are allowed", hint="Use `rename` or `replace`.")
        self._compiled()

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key in which an expression finds something."""
        pairs = self._compiled()
        places = ((key, _substituted(key, pairs)) for key in keys)
        return [Move(key, place) for key, place in places if place is not None]

    def _compiled(self) -> list[_Pair]:
        return [
            (_expression(expression, replacement), replacement, literal_of_regex(expression))
            for expression, replacement in self.pairs.items()
        ]


def _expression(text: str, replacement: str) -> regex.Pattern[str]:
    import regex

    for part in (text, replacement):
        if len(part) > _MAX_LENGTH:
            raise RulesError(f"sub: {escape(part)} has {len(part)} characters; at most {_MAX_LENGTH} are allowed")
    require_small(text)
    try:
        compiled = regex.compile(text, regex.VERSION0)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise RulesError(f"sub: {escape(text)} is no regular expression: {error}") from None
    try:
        # A replacement is only read once something is found, so here an empty key is, with the same groups.
        regex.compile(f"{text}\n|", regex.VERSION0).sub(replacement, "")
    except (regex.error, IndexError) as error:
        hint = r"Groups are \1 or \g<name>; a backslash itself is \\."
        raise RulesError(f"sub: {escape(replacement)} is no replacement for {escape(text)}: {error}", hint=hint) from None
    return compiled


def _substituted(key: str, pairs: Sequence[_Pair]) -> str | None:
    """The new name, or None where no expression finds anything."""
    for expression, replacement, literal in pairs:
        name, count = _replaced(expression, replacement, literal, key)
        if count and not name:
            raise RulesError(f"sub: {escape(expression.pattern)} leaves no name of {escape(key)}")
        if count:
            return name
    return None


def _replaced(expression: regex.Pattern[str], replacement: str, literal: str, key: str) -> tuple[str, int]:
    """The name with every replacement in it, and their number."""
    length = 0

    def expanded(found: regex.Match[str]) -> str:
        nonlocal length
        text = found.expand(replacement)
        length += len(text)
        if length > _MAX_NAME:
            raise RulesError(f"sub: {escape(replacement)} makes more than {_MAX_NAME} characters of {escape(key)}")
        return text

    text = f"sub: {expression.pattern}"
    found = PATIENCE.search(text, key, lambda seconds: expression.subn(expanded, key, timeout=seconds), literal)
    return found or (key, 0)
