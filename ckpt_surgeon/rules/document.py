"""Plain data and where each part of it stands: in a YAML text, or in a value which Python code made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Document", "Given", "Mark", "Place", "Text", "where"]

Place = tuple[str | int, ...]
Mark = tuple[int, int]


class Document(Protocol):
    """Data, and what to call a place in it."""

    @property
    def data(self) -> Any:
        """The whole: None, scalars, lists, dicts with text as keys."""
        ...

    @property
    def folder(self) -> str:
        """What the names of files in it are relative to; empty: the current one."""
        ...

    def where(self, place: Place, *, key: bool = False) -> str:
        """What errors call the innermost part of `place` which is there; with `key`, the key which leads to it."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A text's data; `values` and `keys` hold line and column, from 1, of each value and each mapping key."""

    name: str
    data: Any
    values: Mapping[Place, Mark]
    keys: Mapping[Place, Mark]
    folder: str = ""

    def where(self, place: Place, *, key: bool = False) -> str:
        """`rules.yaml:12:5`."""
        if key and place in self.keys:
            return where(self.name, self.keys[place])
        known = (place[:length] for length in range(len(place), -1, -1))
        return next((where(self.name, self.values[part]) for part in known if part in self.values), self.name)


@dataclass(frozen=True, slots=True)
class Given:
    """A value from Python code."""

    data: Any
    folder: str = ""

    def where(self, place: Place, *, key: bool = False) -> str:
        """`rules[2].split.sizes`."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        return text.removeprefix(".") if text[:1] == "." else f"rules{text}"


def where(name: str, mark: Mark) -> str:
    """`name:line:column`."""
    return f"{name}:{mark[0]}:{mark[1]}"
