"""`ckpt-surgeon invert`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from ckpt_surgeon.cli.output import put
from ckpt_surgeon.cli.rules_file import write_rules
from ckpt_surgeon.cli.surgery_options import Given, rule_options

__all__ = ["command"]


@click.command("invert")
@click.argument("source")
@click.option("--target", help="The checkpoint or model to which the rules lead.")
@click.option("-o", "--out", metavar="FILE", help="Where to write the rules; to the standard output where left out.")
@click.option("--force", is_flag=True, help="Replace an existing FILE.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@rule_options
def command(source: str, target: str | None, out: str | None, given: Given, force: bool, debug: bool) -> int:
    """Write the rules which take back what the rules make of SOURCE: the same keys and specs, bit for bit.

    Rules which cannot be undone for these keys are named, all at once, and nothing is written.
    """
    from ckpt_surgeon.rules.reader import parse_rules
    from ckpt_surgeon.rules.rendering import text_of
    from ckpt_surgeon.rules.rule import Rules
    from ckpt_surgeon.sources import others_of
    from ckpt_surgeon.surgery import invert

    stdout = sys.stdout
    allowed: dict[str, Any] = {"allow_missing": given.allow_missing, "allow_unexpected": given.allow_unexpected}
    with redirect_stdout(sys.stderr):  # a factory may print
        text = text_of(invert(source, given.rules, target, given.variables, **allowed, sources=given.sources, arguments=given.arguments))
        parse_rules(text, out or "the inverse")  # more rules than a file may hold are said now, not to whoever needs them
        if out is not None:
            rules: tuple[str, ...] = click.get_current_context().params["rules"]
            write_rules(out, text, force, [source, target, *rules, *others_of(given.rules or Rules(), given.sources).values()])
            return 0
    put(stdout, text)
    return 0
