"""The parameters of ops as they come from YAML, JSON or Python -> the frozen values which ops hold; and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.spec import DTYPES

__all__ = [
    "MAX_INTEGER",
    "assign",
    "dtype_name",
    "integer",
    "integers",
    "number",
    "numbers",
    "one_of",
    "parameters_of",
    "positive",
    "text",
    "text_pairs",
    "texts",
    "truth",
]

MAX_INTEGER = 2**63 - 1  # sizes, dims and byte counts are int64 in every format here
_MAX_NUMBER = sys.float_info.max
_COMMON_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "bool")


def assign(op: object, **values: Any) -> None:
    """Set fields of a frozen dataclass to their checked values; only for its `__post_init__`."""
    for name, value in values.items():
        object.__setattr__(op, name, value)


def integer(value: object, what: str) -> int:
    """An int64; a bool is none. RulesError otherwise; `what` names op and parameter (`split: dim`)."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise RulesError(f"{what} is {value!r}; a whole number is wanted")
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise RulesError(f"{what} is {value}, which no tensor's size or dim can be")
    return value


def truth(value: object, what: str) -> bool:
    """True or false, and nothing which merely counts as one."""
    if not isinstance(value, bool):
        raise RulesError(f"{what} is {value!r}; true or false is wanted")
    return value


def positive(value: object, what: str) -> int:
    """An int64 of 1 or more."""
    number = integer(value, what)
    if number < 1:
        raise RulesError(f"{what} is {number}; 1 or more is wanted")
    return number


def integers(value: object, what: str, *, single: bool = False) -> tuple[int, ...]:
    """A tuple of int64 from a list; with `single` a bare integer is a list of one."""
    if single and isinstance(value, int):
        return (integer(value, what),)
    if not isinstance(value, list | tuple):
        raise RulesError(f"{what} is {value!r}; a list of whole numbers is wanted, such as [0, 1]")
    return tuple(integer(item, what) for item in value)


def number(value: object, what: str) -> float:
    """A finite number as a float; a bool is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        raise RulesError(f"{what} is {value!r}; a number is wanted")
    return float(value)


def text(value: object, what: str) -> str:
    """A string which is not empty."""
    if not isinstance(value, str):
        raise RulesError(f"{what} is {value!r}; text is wanted", hint="Quote it, if YAML reads it as something else.")
    if not value:
        raise RulesError(f"{what} is empty")
    return value


def texts(value: object, what: str) -> tuple[str, ...]:
    """Strings from one string or a list of them; none of them empty, the list neither."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise RulesError(f"{what} is {value!r}; text or a list of texts is wanted")
    if not items:
        raise RulesError(f"{what} is an empty list")
    if "" in items:
        raise RulesError(f"{what}: an empty text names nothing")
    return tuple(text(item, what) for item in items)


def text_pairs(value: object, what: str, *, blank: bool = False) -> dict[str, str]:
    """A mapping of strings to strings, in its order; with `blank` a value may be empty."""
    if not isinstance(value, Mapping):
        raise RulesError(f"{what} is {value!r}; a mapping is wanted: {{SOURCE: TARGET, ...}}")
    if not value:
        raise RulesError(f"{what} is an empty mapping")
    if "" in value:
        raise RulesError(f"{what}: an empty text stands for no name", hint="Name what is to be found before the colon.")
    return {text(key, what): item if blank and item == "" else _new_name(key, item, what) for key, item in value.items()}


def _new_name(key: str, value: object, what: str) -> str:
    if value == "":
        raise RulesError(f"{what}: the new name of '{escape(key)}' is empty", hint="Use `drop` to leave a key out.")
    return text(value, f"{what}: {escape(key)}")


def numbers(value: object, what: str) -> tuple[float, ...]:
    """A tuple of finite numbers from a list."""
    if not isinstance(value, list | tuple) or not value:
        raise RulesError(f"{what} is {value!r}; a list of numbers is wanted, such as [0.5, 0.5]")
    return tuple(number(item, what) for item in value)


def one_of(value: object, allowed: Iterable[str], what: str) -> str:
    """One of the allowed words."""
    words = tuple(allowed)
    if value not in words:
        raise RulesError(f"{what} is {value!r}; allowed: {', '.join(words)}")
    return str(value)


def dtype_name(value: object, what: str) -> str:
    """A dtype's name as torch gives it (`float32`); `torch.float32` and `f32` are understood."""
    name = text(value, what).removeprefix("torch.")
    if name in DTYPES:
        return name
    short = [dtype.name for dtype in DTYPES.values() if dtype.short == name]
    if len(short) == 1:
        return short[0]
    near = nearest(name, DTYPES)
    hint = f"Did you mean {near!r}? " if near else ""
    raise RulesError(f"{what} is {value!r}, which is no dtype", hint=f"{hint}Common ones: {', '.join(_COMMON_DTYPES)}.")


def parameters_of(op: Any) -> dict[str, Any]:
    """The fields as plain JSON values. What is None is left out, so that a new optional field leaves old digests as they are."""
    return {item.name: _plain(getattr(op, item.name)) for item in fields(op) if getattr(op, item.name) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
