"""`--model-arg name=value` -> the keyword arguments of a factory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from ckpt_surgeon.errors import ModelError

__all__ = ["parse_arguments"]

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None, "~": None}


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`["classes=101", "name=flow", "dropout=none"]` -> `{"classes": 101, "name": "flow", "dropout": None}`.

    A value is JSON where it reads as JSON (`[3, 4]`, `1e-3`, `"12"` for the text 12), a word for a truth value or
    nothing (in lower case or as Python writes it), and otherwise the text itself.

    Raises ModelError for a pair without `=`, a name which is no Python name, or a name which is given twice.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ModelError(f"model argument {pair!r} is not of the form name=value", hint="write --model-arg num_classes=101")
        if name in arguments:
            raise ModelError(f"model argument {name!r} is given twice")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Any:
    if text in _WORDS or text in ("True", "False", "None"):
        return _WORDS[text.lower()]
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are Python's addition to JSON: here they are text."""
    raise ValueError(constant)
