"""A report -> a string, in the form which was asked for."""

from __future__ import annotations

from typing import Literal, get_args

from ckpt_surgeon.report.page import Report

__all__ = ["FORMS", "Form", "render"]

Form = Literal["table", "json", "md", "html"]
FORMS: tuple[Form, ...] = get_args(Form)


def render(report: Report, form: Form = "table", *, color: bool = False) -> str:
    """The report as text (`table`), a JSON document, markdown or html. `color` is ANSI's, for text only."""
    if form == "json":
        import json

        return json.dumps(report.document(), indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    if form == "md":
        from ckpt_surgeon.report.markdown import render_markdown

        return render_markdown(report.page())
    if form == "html":
        from ckpt_surgeon.report.html import render_html

        return render_html(report.page())
    from ckpt_surgeon.report.text import render_text

    return render_text(report.page(), color=color)
