"""`--lineage [FILE]` of the command which writes a manifest, `--manifest [FILE]` of those which read one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ckpt_surgeon.errors import SurgeryError

__all__ = ["IN_HEADER", "lineage_option", "refuse_lineage"]

# What a bare `--manifest` stands for; no path is empty.
IN_HEADER = ""


def lineage_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option; it takes `lineage`, a path, `auto` or None."""
    text = "Write the manifest, which tells where each key comes from, to a file (OUT.lineage.json) as well."
    return click.option("--lineage", is_flag=False, flag_value="auto", metavar="[FILE|auto]", help=text)(function)


def refuse_lineage(lineage: str, out: str | None, report: str | None) -> None:
    """click.UsageError where no output is written, and where the manifest would take the place of the output, or of the report."""
    from os.path import realpath

    from ckpt_surgeon.manifests import manifest_path

    context = click.get_current_context()
    if out is None:
        raise click.UsageError("--lineage tells of an output: it needs -o OUT, and excludes --in-place and --dry-run", context)
    try:
        path = manifest_path(lineage, out)
    except SurgeryError as error:
        raise click.UsageError(f"{error.problems[0]}; a bare --lineage stands behind the paths", context) from error
    if report is not None and realpath(str(path)) == realpath(report):
        raise click.UsageError(f"--lineage and --report are both to be written to {path}", context)
