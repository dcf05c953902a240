"""Page: what is to be read, in blocks, before it is text, markdown or html; Report: whatever gives a page and a document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["SCHEMA_VERSION", "Block", "Code", "Column", "Document", "Line", "Page", "Report", "Section", "Table", "Tone"]

SCHEMA_VERSION = 1

Tone = Literal["plain", "good", "bad", "note"]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of prose."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading; the blocks which follow belong to it."""

    title: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column. `code` cells hold keys and rules, `number` cells are aligned to the right."""

    title: str
    kind: Literal["text", "code", "number"] = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of printable cells, one for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def trimmed(self) -> Table:
        """The same table without the columns in which every cell is empty."""
        used = [i for i in range(len(self.columns)) if any(row[i] for row in self.rows)]
        return Table(tuple(self.columns[i] for i in used), tuple(tuple(row[i] for i in used) for row in self.rows))


@dataclass(frozen=True, slots=True)
class Code:
    """A text of several lines, shown as it is: a rules file."""

    text: str


Block = Line | Section | Table | Code


@dataclass(frozen=True, slots=True)
class Page:
    """A title and its blocks. Every text in it is printable: names from files are escaped by who makes the page."""

    title: str
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, title: str, *parts: Iterable[Block]) -> Page:
        """A page of the blocks of all parts, in order."""
        return cls(title, tuple(block for part in parts for block in part))


class Report(Protocol):
    """A value with a page for people and a document for programs."""

    def page(self) -> Page: ...
    def document(self) -> Document: ...
