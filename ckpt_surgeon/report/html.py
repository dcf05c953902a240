"""A page as one self-contained html file: no script, no link, every text escaped, ASCII only."""

from __future__ import annotations

from html import escape

from ckpt_surgeon.report.page import Block, Code, Column, Line, Page, Section, Table

__all__ = ["render_html"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { margin: .3rem 0; }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8884; padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 13px ui-monospace, monospace; }
.good { color: #188038; } .bad { color: #d93025; } .note { opacity: .7; }
"""
_HEAD = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'


def render_html(page: Page) -> str:
    """The whole file."""
    title = escape(page.title)
    body = "\n".join(map(_block, page.blocks))
    text = f"{_HEAD}<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _block(block: Block) -> str:
    if isinstance(block, Line):
        return f'<p class="{block.tone}">{escape(block.text)}</p>'
    if isinstance(block, Section):
        return f'<h2 class="{block.tone}">{escape(block.title)}</h2>'
    if isinstance(block, Code):
        return f"<pre><code>{escape(block.text)}</code></pre>"
    return _table(block)


def _table(table: Table) -> str:
    head = "".join(f'<th class="{column.kind}">{escape(column.title)}</th>' for column in table.columns)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row, table.columns))}</tr>" for row in table.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cell(text: str, column: Column) -> str:
    inner = f"<code>{escape(text)}</code>" if column.kind == "code" and text else escape(text)
    return f'<td class="{column.kind}">{inner}</td>'
