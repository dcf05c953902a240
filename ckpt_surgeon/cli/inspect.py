"""`ckpt-surgeon inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckpt_surgeon.cli.surgery_options import model_options
from ckpt_surgeon.cli.view import View, common_options

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["command"]


@click.command("inspect")
@click.argument("ckpt")
@click.option("--match", multiple=True, metavar="PATTERN", help="Only these keys.")
@model_options
@common_options
def command(view: View, ckpt: str, match: tuple[str, ...], arguments: dict[str, Any]) -> int:
    """List what CKPT (a checkpoint or a model) holds, by its header alone; exits 1 where --match finds nothing."""
    from ckpt_surgeon.keys.matching import matching
    from ckpt_surgeon.report.header import HeaderReport
    from ckpt_surgeon.surgery import inspect

    patterns = _patterns(match)
    with view.progress("reading") as progress:
        header = inspect(ckpt, arguments=arguments, progress=progress)
    shown = set(matching(patterns, header)) if match else None
    view.show(HeaderReport(header, ckpt, shown))
    return 1 if shown is not None and not shown else 0


def _patterns(texts: tuple[str, ...]) -> list[Pattern]:
    if not texts:
        return []
    from ckpt_surgeon.keys.pattern import Pattern

    return [Pattern.parse(text) for text in texts]
