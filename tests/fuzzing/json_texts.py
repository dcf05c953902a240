"""JSON with structure: values in which a part is another value, and their text with what JSON allows and what it does not."""

from __future__ import annotations

import json
from typing import Any

from chance import BOUNDARIES, Chance

__all__ = ["changed", "text_of"]

_WORDS = ("a", "", "F32", "f32", "__metadata__", "dtype", "é😀", "\x00", "\x1b[0m", "x" * 200, "../x", "pt")


class Twice(dict[str, Any]):
    """A table of which the text says the first key twice."""

    def items(self) -> Any:
        """All pairs, the first once more at the end."""
        pairs = list(super().items())
        return [*pairs, *pairs[:1]]


def odd_value(chance: Chance) -> Any:
    """A value where another kind is wanted."""
    return chance.choice((None, True, 1.5, 1e400, [], {}, [[]], chance.choice(BOUNDARIES), chance.choice(_WORDS), -0.0, {"a": 1}))


def changed(chance: Chance, value: Any) -> Any:
    """The value with one part of it, anywhere inside, changed, left out, doubled or moved."""
    if isinstance(value, dict) and value and not chance.one_in(5):
        key = chance.choice(list(value))
        return {name: changed(chance, item) if name == key else item for name, item in value.items()}
    if isinstance(value, list) and value and not chance.one_in(5):
        at = chance.below(len(value))
        return [changed(chance, item) if index == at else item for index, item in enumerate(value)]
    if isinstance(value, dict):
        return _changed_table(chance, value)
    if isinstance(value, list):
        return chance.rearranged(value, [odd_value(chance)])
    if type(value) is int and not chance.one_in(4):
        return chance.number_near(value)
    if isinstance(value, str) and not chance.one_in(3):
        return chance.choice(_WORDS) if chance.one_in(2) else value + chance.choice(_WORDS)
    return odd_value(chance)


def _changed_table(chance: Chance, value: dict[str, Any]) -> dict[str, Any]:
    items = chance.rearranged(list(value.items()), [(chance.choice(_WORDS), odd_value(chance))])
    return Twice(items) if chance.one_in(3) else dict(items)


def text_of(chance: Chance, value: Any) -> bytes:
    """The text of a value: compact, or with blanks; rarely a part of it is no JSON."""
    found = json.dumps(value, ensure_ascii=chance.one_in(2), separators=(",", ":") if chance.one_in(2) else None)
    if chance.one_in(24):
        at = chance.below(len(found) + 1)
        found = found[:at] + chance.choice(_ODD_TEXTS) + found[at:]
    return found.encode("utf-8", "surrogatepass")


_ODD_TEXTS = (
    "NaN",
    "Infinity",
    "-",
    "01",
    ",",
    '"',
    "\\",
    "\\ud800",
    "\\u0061",
    "\n",
    "\x00",
    "\ufeff",
    "[" * 50,
    "[" * 5000,
    "1" * 5000,
    "1e9",
    "\ud800",
    "//x",
)
