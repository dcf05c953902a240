"""`ckpt-surgeon explain`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options
from ckpt_surgeon.errors import SurgeryError

__all__ = ["command"]

_EVERYTHING = ("**",)  # rules which are not finished are explained too


@click.command("explain")
@click.argument("source")
@click.argument("key")
@click.option("--target", help="The checkpoint or model which the rules lead to.")
@click.option("--manifest", metavar="FILE", help="Without rules: the file which tells where SOURCE comes from, instead of its header.")
@rule_options
@common_options
def command(view: View, source: str, key: str, target: str | None, manifest: str | None, given: Given) -> int:
    """Follow KEY through the rules: a target's key back to its sources, else a source's key forward to its targets.

    Without rules and target, the manifest answers which SOURCE carries in its header, if remap made it.
    """
    if given.rules is None and target is None:
        return _explained_by_manifest(view, source, key, manifest)
    if manifest is not None:
        raise click.UsageError("--manifest excludes rules and --target", click.get_current_context())
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


def _explained_by_manifest(view: View, source: str, key: str, manifest: str | None) -> int:
    from ckpt_surgeon.provenance import lineage
    from ckpt_surgeon.report.provenance import OriginReport
    from ckpt_surgeon.sources import open_source

    with view.progress("reading") as progress, open_source(source, progress=progress) as reader:
        header = reader.header
    try:
        found = lineage(header, manifest)
    except SurgeryError as error:
        raise error.located(source) from error
    view.show(OriginReport(key, header, found))
    return 0
