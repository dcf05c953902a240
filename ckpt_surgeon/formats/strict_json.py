"""JSON as files from strangers may hold it: no duplicate keys, no NaN, bounded depth and number of values; all else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, NoReturn

from ckpt_surgeon.errors import CorruptError, LimitError

__all__ = ["MAX_VALUES", "check_values", "parse_json"]

# Longest honest nesting: a safetensors header or an index has 4 levels, `_metadata` a few more.
_MAX_DEPTH = 32
# A header says some 8 things of a tensor: this is enough for 200,000. Each takes up to 64 bytes, whatever it takes in the file.
MAX_VALUES = 2_000_000
_CONTAINERS = frozenset({dict, list})


def parse_json(data: bytes | str, what: str, compact: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value in `data`, which the errors call `what`. compact: what becomes of each object, from the inside outwards.

    Raises CorruptError for whatever a strict reader should not accept, LimitError for more values than any checkpoint needs.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        check_values(text, what)
        whole = _whole if "-0" in text else int
        made = _unique if compact is None else lambda pairs: compact(_unique(pairs))
        value = json.loads(text, object_pairs_hook=made, parse_constant=_refused, parse_int=whole, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise CorruptError(f"{what} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise CorruptError(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise CorruptError(f"{what} is no valid JSON: {error}") from error
    _check_depth(value, what)
    if isinstance(data, str) or "\\u" in text:  # else all of it was UTF-8, and still is
        _check_texts(value, what)
    return value


def check_values(text: str, what: str) -> None:
    """LimitError for a JSON text with more values than any checkpoint needs."""
    values = sum(map(text.count, ",[{"))
    if values > MAX_VALUES:
        raise LimitError(f"{what} holds some {values:,} values: {MAX_VALUES:,} are allowed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, unless a key stands twice in it."""
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice")
    return value


def _whole(digits: str) -> int | float:
    """The number; `-0` is a fraction, as the reference reader has it, and no size."""
    return -0.0 if digits == "-0" else int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"{digits} is out of range")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _check_depth(value: Any, what: str) -> None:
    """CorruptError for too deep a nesting; level by level, which is quicker than value by value."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(_MAX_DEPTH - 1):
        level = [item for each in level for item in _items(each) if type(item) in _CONTAINERS]
    if any(level):
        raise CorruptError(f"{what} is nested more than {_MAX_DEPTH} levels deep")


def _items(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _check_texts(value: Any, what: str) -> None:
    """CorruptError for strings which UTF-8 cannot hold (lone surrogates)."""
    if isinstance(value, str):
        _check_text(value, what)
        return
    if type(value) not in _CONTAINERS:
        return
    for key in value if isinstance(value, dict) else ():
        _check_text(key, what)
    for item in _items(value):
        _check_texts(item, what)


def _check_text(text: str, what: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CorruptError(f"{what} holds half a surrogate pair in {text!r}") from error
