"""A safetensors header as all writers spell it, read without a JSON reader: several times quicker. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["PlainHeader", "plain_header"]

T = TypeVar("T")

# Without a way back into what was matched: a text of many MB must not be remembered sign by sign.
_TEXT: Final = r'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_SIZE: Final = r"(?:0|[1-9][0-9]{0,17})"
_START: Final = re.compile(rf'\{{(?:"__metadata__":(\{{(?:{_TEXT}:{_TEXT},?)*+\}})(?:,(?=")|(?=\}})))?')
_ENTRY: Final = re.compile(
    rf'"(?!__metadata__")([^"\\\x00-\x1f]*)":\{{"dtype":"([A-Z0-9_]+)",'
    rf'"shape":\[((?:{_SIZE}(?:,{_SIZE})*+)?)\],"data_offsets":\[({_SIZE}),({_SIZE})\]\}}(?:,(?=")|(?=\}}))'
)


@dataclass(frozen=True, slots=True)
class PlainHeader(Generic[T]):
    """The JSON text of the metadata (empty: there is none); begin, end (bytes), what it is and key of each entry, as they stand there."""

    metadata: str
    entries: list[tuple[int, int, T, str]]


def plain_header(text: str, kind: Callable[[str, str, list[int]], T]) -> PlainHeader[T] | None:
    """The header in `text`, if all of it is spelled as plainly as can be: no spaces, no escapes in keys, fields in the usual order.

    kind: what a key, a dtype's tag and a shape make, asked once for each tag and shape; what it raises is raised here.
    None for all else, which may be right or wrong: a strict reader has to say which. That no key stands twice is not looked at.
    """
    start = _START.match(text)
    if start is None:
        return None
    kinds: dict[tuple[str, str], T] = {}
    entries: list[tuple[int, int, T, str]] = []
    position = start.end()
    for match in _ENTRY.finditer(text, position):
        if match.start() != position:
            return None
        position = match.end()
        key, tag, sizes, begin, end = match.groups()
        found = kinds.get((tag, sizes))
        if found is None:
            found = kinds[tag, sizes] = kind(key, tag, [int(size) for size in sizes.split(",")] if sizes else [])
        entries.append((int(begin), int(end), found, key))
    is_whole = text.startswith("}", position) and not text[position + 1 :].strip(" ")
    return PlainHeader(start[1] or "", entries) if is_whole else None
