"""Plain data -> YAML text which `yaml_reader` reads back to the same data: short parts on one line, long ones in a block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.scalars import resolve

__all__ = ["write_yaml"]

_WIDTH = 120  # characters of a line, unless one key or value is longer
_STEP = "  "
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')
_MAX_SIMPLE = 1000  # characters; YAML 1.2 takes a key for one without a question mark only up to 1024


def write_yaml(data: Any) -> str:
    """The text, with a line's end at its end. data: mappings with text as keys, lists, texts, numbers, truths and None.

    >>> print(write_yaml({"drop": ["fc.**", "aux"], "why": "no: 1"}), end="")
    drop: ["fc.**", aux]
    why: "no: 1"
    """
    return "".join(f"{line}\n" for line in _block(data, ""))


def _block(data: Any, indent: str) -> Iterator[str]:
    """The lines of a value which stands by itself, each with its indent."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _entry(indent, _quoted(key), value)
    elif isinstance(data, list | tuple) and data:
        for item in data:
            yield from _item(item, indent)
    else:
        yield indent + _flow(data)


def _entry(indent: str, key: str, value: Any) -> Iterator[str]:
    if len(key) > _MAX_SIMPLE:
        yield f"{indent}? {key}"
        key = ""
    line = f"{indent}{key}: {_flow(value)}"
    if not _is_nested(value) or (len(line) <= _WIDTH and not _holds_mappings(value)):
        yield line
        return
    yield f"{indent}{key}:"
    yield from _block(value, indent + _STEP)


def _item(item: Any, indent: str) -> Iterator[str]:
    """An item of a list; a mapping begins on the line of its dash."""
    if not isinstance(item, Mapping) or not item:
        yield f"{indent}- {_flow(item)}"
        return
    first, *others = _block(item, indent + _STEP)
    yield f"{indent}- {first.removeprefix(indent + _STEP)}"
    yield from others


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and len(value) > 0


def _holds_mappings(value: Any) -> bool:
    """Whether it is a list of mappings, such as rules, each of which stands by itself however short it is."""
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _flow(data: Any) -> str:
    """A value on one line."""
    if isinstance(data, Mapping):
        return "{" + ", ".join(_flow_entry(_quoted(key), _flow(value)) for key, value in data.items()) + "}"
    if isinstance(data, list | tuple):
        return "[" + ", ".join(map(_flow, data)) + "]"
    if data is None:
        return "null"
    if isinstance(data, bool):
        return "true" if data else "false"
    return _quoted(data) if isinstance(data, str) else repr(data)


def _flow_entry(key: str, value: str) -> str:
    return f"? {key} : {value}" if len(key) > _MAX_SIMPLE else f"{key}: {value}"


def _quoted(text: str) -> str:
    """A text as it is, where YAML takes it for nothing else; in single quotes where that saves escapes."""
    if _PLAIN.fullmatch(text) and _is_text(text):
        return text
    escaped = _ESCAPED.sub(_escape, text)
    is_plain = all(found[0] in '"\\' for found in _ESCAPED.finditer(text))
    return "'" + text.replace("'", "''") + "'" if is_plain and escaped != text else f'"{escaped}"'


def _is_text(text: str) -> bool:
    try:
        return resolve(text) == text
    except RulesError:
        return False


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in '"\\':
        return "\\" + found[0]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
