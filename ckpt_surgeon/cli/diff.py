"""`ckpt-surgeon diff`."""

from __future__ import annotations

from typing import Any

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("diff")
@click.argument("source")
@click.argument("target")
@click.option("--values", is_flag=True, help="Compare the values of the tensors which match, too.")
@click.option("--stat", is_flag=True, help="The numbers only.")
@rule_options
@common_options
def command(view: View, source: str, target: str, values: bool, stat: bool, given: Given) -> int:
    """Say what of SOURCE would load into TARGET, before any load; with rules, after them. Exits 1 when something differs."""
    from ckpt_surgeon.report.diff import DiffReport
    from ckpt_surgeon.surgery import diff

    options: dict[str, Any] = {"allow_missing": given.allow_missing, "allow_unexpected": given.allow_unexpected}
    options |= {"values": values, "suggest": not stat}
    options |= {"sources": given.sources, "arguments": given.arguments}
    with view.progress("reading") as progress:
        found = diff(source, target, given.rules, given.variables, **options, progress=progress)
    view.show(DiffReport(found, source, target, stat, view.verbose))
    is_good = found.is_equal if values else found.same
    return 0 if is_good and found.coverage >= (given.require_coverage or 0) else 1
