"""A page as GitHub's markdown."""

from __future__ import annotations

import re

from ckpt_surgeon.report.page import Block, Code, Column, Line, Page, Section, Table

__all__ = ["render_markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")
_RULERS = {"text": "---", "code": "---", "number": "--:"}


def render_markdown(page: Page) -> str:
    """The page under a first-level heading; names are escaped, so that they cannot become markup."""
    return f"# {_escaped(page.title)}\n" + "".join(f"\n{_block(block)}\n" for block in page.blocks)


def _block(block: Block) -> str:
    if isinstance(block, Line):
        return _escaped(block.text)
    if isinstance(block, Section):
        return f"## {_escaped(block.title)}"
    if isinstance(block, Code):
        fence = "`" * (_longest_run(block.text, least=2) + 1)
        return f"{fence}yaml\n{block.text}{fence}"
    return _table(block)


def _table(table: Table) -> str:
    rows = [[column.title for column in table.columns], [_RULERS[column.kind] for column in table.columns]]
    rows += [[_cell(text, column) for text, column in zip(row, table.columns, strict=True)] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(text: str, column: Column) -> str:
    return _code(text) if column.kind == "code" and text else _escaped(text)


def _code(text: str) -> str:
    """A code span, fenced by one backtick more than the text holds in a row."""
    longest = _longest_run(text)
    pad = " " if longest else ""
    fence = "`" * (longest + 1)
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def _longest_run(text: str, least: int = 0) -> int:
    """How many backticks the text holds in a row at most, or `least`."""
    return max([least, *(len(run) for run in re.findall("`+", text))])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
