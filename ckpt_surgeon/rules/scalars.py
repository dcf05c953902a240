"""Plain YAML scalars by the core schema of YAML 1.2: `yes`, `on`, `1_000` and `1:30` are text."""

from __future__ import annotations

import re

from ckpt_surgeon.errors import RulesError

__all__ = ["resolve"]

_MAX_DIGITS = 19  # of an integer: an int64 has at most as many
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEAN = {text: text[0] in "tT" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = (".nan", ".NaN", ".NAN")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar. Raises RulesError for an integer beyond 64 bits, infinity and not-a-number.

    >>> resolve("yes"), resolve("true"), resolve("0x1F"), resolve("1e-4")
    ('yes', True, 31, 0.0001)
    """
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> str | int | float:
    base = 10 if _INTEGER.fullmatch(text) else 8 if _OCTAL.fullmatch(text) else 16 if _HEXADECIMAL.fullmatch(text) else 0
    if base:
        if len(text.lstrip("+-")) > _MAX_DIGITS + 2:
            raise RulesError(f"a number of {len(text)} digits; none here has more than {_MAX_DIGITS}", hint="Quote it, if it is text.")
        return int(text, base)
    if _INFINITY.fullmatch(text) or text in _NAN:
        raise RulesError(f"{text} is no number which anything here can take", hint="Quote it, if it is text.")
    return float(text) if _FLOAT.fullmatch(text) else text
