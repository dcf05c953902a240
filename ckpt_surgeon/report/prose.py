"""Prose on one line: sentences of other rooms, in which names are escaped already."""

from __future__ import annotations

from ckpt_surgeon.keys.display import escape

__all__ = ["one_line"]

_LIMIT = 1000  # characters: ten lines of a terminal; a longer sentence helps nobody


def one_line(text: str) -> str:
    """The text with whatever is still unprintable escaped, and cut where it is too long. Backslashes stay as they are."""
    shown = "".join(character if character == "\\" else escape(character) for character in text[: _LIMIT + 1])
    return shown if len(shown) <= _LIMIT else f"{shown[: _LIMIT - 3]}..."
