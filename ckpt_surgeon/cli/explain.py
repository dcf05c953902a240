"""`ckpt-surgeon explain`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]

_EVERYTHING = ("**",)  # rules which are not finished are explained too


@click.command("explain")
@click.argument("source")
@click.argument("key")
@click.option("--target", help="The checkpoint or model which the rules lead to.")
@rule_options
@common_options
def command(view: View, source: str, key: str, target: str | None, given: Given) -> int:
    """Follow KEY through the rules: a target's key back to its sources, else a source's key forward to its targets."""
    from ckpt_surgeon.planning import explain
    from ckpt_surgeon.report.explanation import ExplanationReport
    from ckpt_surgeon.surgery import plan

    options: dict[str, Any] = {"allow_missing": _EVERYTHING, "allow_unexpected": _EVERYTHING}
    options |= {"sources": given.sources, "arguments": given.arguments}
    rules = given.rules and replace(given.rules, guards=())
    with view.progress("reading") as progress:
        made = plan(source, rules, target, given.variables, **options, progress=progress)
    view.show(ExplanationReport(explain(made, key)))
    return 0
