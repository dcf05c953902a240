"""Entries in reports: as cells of a table, and as JSON values; keys in folded rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.report.amounts import count_text, keys_text
from ckpt_surgeon.report.page import Block, Column, Document, Line, Section, Table, Tone
from ckpt_surgeon.report.prose import one_line
from ckpt_surgeon.spec import Entry, TensorSpec

__all__ = ["block_text", "entry_document", "folded", "key_section", "keys_in_short", "notes_section", "reasons_section"]

_FEW = 5  # names in a sentence; more is a table's work


def entry_document(entry: Entry) -> Document:
    """`{"shape": [64, 3], "dtype": "float32"}`, or `{"opaque": "..."}`."""
    if isinstance(entry, TensorSpec):
        return {"shape": list(entry.shape), "dtype": entry.dtype.name}
    return {"opaque": entry.description}


def block_text(text: str, count: int) -> str:
    """A folded block of keys in a cell: `layer{1..4}.{0..2}.conv1.weight x12`; without the number where it is one."""
    return f"{escape(text)} x{count}" if count > 1 else escape(text)


def folded(keys: Iterable[str], *, detailed: bool = False) -> list[tuple[str, int]]:
    """(text, number of keys): repeated blocks in one row, or, where details were asked for, each key in its own."""
    return [(key, 1) for key in keys] if detailed else fold(keys)


def key_section(title: str, entries: Mapping[str, Entry], tone: Tone, *, detailed: bool = False) -> list[Block]:
    """A section of keys with what they are, headed by their number and elements; nothing where there are none."""
    if not entries:
        return []
    elements = sum(entry.numel for entry in entries.values() if isinstance(entry, TensorSpec))
    rows = [(block_text(text, count), _spec_of(text, count, entries)) for text, count in folded(entries, detailed=detailed)]
    columns = (Column("key", "code"), Column("is"))
    return [Section(f"{title}: {keys_text(len(entries))}, {count_text(elements)} elements", tone), Table(columns, tuple(rows)).trimmed()]


def _spec_of(text: str, count: int, entries: Mapping[str, Entry]) -> str:
    entry = entries.get(text) if count == 1 else None
    return "" if entry is None else escape(str(entry))


def reasons_section(title: str, reasons: Mapping[str, str], *, detailed: bool = False) -> list[Block]:
    """Keys with a reason each, those of one reason together."""
    if not reasons:
        return []
    groups: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        groups.setdefault(reason, []).append(key)
    rows = [
        (block_text(text, count), one_line(reason)) for reason, keys in groups.items() for text, count in folded(keys, detailed=detailed)
    ]
    columns = (Column("key", "code"), Column("because"))
    return [Section(f"{title}: {keys_text(len(reasons))}", "note"), Table(columns, tuple(rows)).trimmed()]


def notes_section(notes: Iterable[str]) -> list[Block]:
    """What a user should know and nobody needs to fix."""
    lines = [Line(one_line(note), "note") for note in notes]
    return [Section("notes", "note"), *lines] if lines else []


def keys_in_short(keys: Iterable[str]) -> str:
    """The first keys of several, folded, in one sentence: `a, b and 3 more`."""
    blocks = fold(keys)
    shown = ", ".join(block_text(*block) for block in blocks[:_FEW])
    rest = sum(count for _, count in blocks[_FEW:])
    return f"{shown} and {rest} more" if rest else shown
