"""Keys of other sources: `alias::key` names the key of the source which rules call `alias`."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["alias_of", "is_alias", "of_source", "split_alias", "split_declared"]

_MARK = "::"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REGEX = "re"  # `re::x` is the regular expression `:x`


def is_alias(text: str) -> bool:
    """Whether a source may be called this: letters, digits and underscores, no digit first; `re` begins regular expressions."""
    return _NAME.fullmatch(text) is not None and text != _REGEX


def split_alias(text: str) -> tuple[str, str]:
    """`ema::fc.weight` -> `ema` and `fc.weight`; an empty alias where none stands at the start, or nothing after it."""
    alias, mark, rest = text.partition(_MARK)
    return (alias, rest) if mark and rest and is_alias(alias) else ("", text)


def alias_of(text: str) -> str:
    """The alias at the start of a key or a pattern; empty where none stands there."""
    return split_alias(text)[0]


def split_declared(name: str, aliases: Collection[str]) -> tuple[str, str]:
    """The same for a key of a table, where only declared aliases are some; a quick answer where there are none."""
    if not aliases:
        return "", name
    alias, key = split_alias(name)
    return (alias, key) if alias in aliases else ("", name)


def of_source(alias: str, key: str) -> str:
    """A key as rules and reports name it: `alias::key`; of the main source, whose alias is empty, the key itself."""
    return f"{alias}{_MARK}{key}" if alias else key
