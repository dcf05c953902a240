"""`ckpt-surgeon suggest`."""

from __future__ import annotations

from math import isnan
from typing import Any

import click

from ckpt_surgeon.cli.evidence_options import evidence_options
from ckpt_surgeon.cli.surgery_options import model_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("suggest")
@click.argument("source")
@click.argument("target")
@click.option("-o", "--out", metavar="FILE", help="Where to write the rules; into the report where left out.")
@click.option("--force", is_flag=True, help="Replace an existing FILE.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="What is less sure is asked, not said.")
@evidence_options
@model_options
@common_options
def command(
    view: View,
    source: str,
    target: str,
    out: str | None,
    force: bool,
    min_confidence: float | None,
    evidence: dict[str, Any],
    arguments: dict[str, Any],
) -> int:
    """Write the rules which take SOURCE to TARGET, found in names, shapes and dtypes alone, and proven by the plan which they make.

    --values and --probe look further, for what these leave open: at the values themselves, and at the outputs of both models.

    Each rule tells why it is there and how sure it is. What is not sure stands after the rules, as comments with the ways to
    answer it; the exit code is then 1, as it is where a probe's outputs differ.
    """
    from ckpt_surgeon.cli.rules_file import write_rules
    from ckpt_surgeon.report.suggestion import SuggestionReport
    from ckpt_surgeon.surgery import suggestion

    if min_confidence is not None and isnan(min_confidence):
        raise click.BadParameter("nan is no number from 0 to 1", param_hint="--min-confidence")
    with view.progress("reading") as progress:
        found = suggestion(source, target, min_confidence=min_confidence, **evidence, arguments=arguments, progress=progress)
    if out is not None:
        write_rules(out, found.text, force, [source, target])
    view.show(SuggestionReport(found, source, target, out, view.verbose))
    return 0 if found.is_upheld else 1
