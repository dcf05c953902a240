"""A page as text for a terminal; the only room with ANSI colors."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_surgeon.report.page import Block, Code, Column, Line, Page, Section, Table, Tone

__all__ = ["render_text"]

_PADDINGS = {"text": str.ljust, "code": str.ljust, "number": str.rjust}
_ROOM = 2  # cells by which a column is at least wider than its title
_STANDING = frozenset({"Mn", "Me", "Cf"})  # categories of marks which take no cell of their own
_COLORS: dict[Tone, str] = {"plain": "", "good": "\x1b[32m", "bad": "\x1b[31m", "note": "\x1b[2m"}
_BOLD, _RESET = "\x1b[1m", "\x1b[0m"


def render_text(page: Page, *, color: bool = False) -> str:
    """The blocks of a page; its title is left out, since the command line above it says the same."""
    before = (None, *page.blocks)
    return "".join(_gap(previous, block) + _block(block, color) for previous, block in zip(before, page.blocks, strict=False))


def _gap(previous: Block | None, block: Block) -> str:
    """An empty line before a section, and between a table and the prose after it."""
    is_apart = isinstance(block, Section) or isinstance(previous, Table)
    return "\n" if is_apart and previous is not None else ""


def _block(block: Block, color: bool) -> str:
    if isinstance(block, Line):
        return _painted(block.text, block.tone, color) + "\n"
    if isinstance(block, Section):
        return _painted(block.title, block.tone, color, bold=True) + "\n"
    if isinstance(block, Code):
        return block.text
    return _table(block)


def _painted(text: str, tone: Tone, color: bool, *, bold: bool = False) -> str:
    codes = (_BOLD if bold else "") + _COLORS[tone] if color else ""
    return f"{codes}{text}{_RESET}" if codes else text


def _table(table: Table) -> str:
    """Titles over a rule over rows, in columns two blanks apart; numbers to the right."""
    columns = [_drawn(column, texts) for column, texts in zip(table.columns, zip(*table.rows, strict=True), strict=bool(table.rows))]
    return "".join([f"  {'  '.join(cells).rstrip()}\n" for cells in zip(*columns, strict=True)])


def _drawn(column: Column, texts: Sequence[str]) -> list[str]:
    """The title, the rule and the cells of a column, all of one width: wide characters take two cells, marks on others none."""
    pad = _PADDINGS[column.kind]
    if all(map(str.isascii, texts)):
        width = max(len(column.title) + _ROOM, *map(len, texts))
        return [pad(column.title, width), "-" * width, *[pad(text, width) for text in texts]]
    width = max(len(column.title) + _ROOM, *map(_cells, texts))
    return [pad(column.title, width), "-" * width, *[pad(text, width + len(text) - _cells(text)) for text in texts]]


def _cells(text: str) -> int:
    """How many cells of a terminal a text fills."""
    from unicodedata import category, east_asian_width

    return sum(0 if category(each) in _STANDING else 2 if east_asian_width(each) in "WF" else 1 for each in text)
