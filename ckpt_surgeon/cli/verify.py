"""`ckpt-surgeon verify`."""

from __future__ import annotations

from functools import partial

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("verify")
@click.argument("ckpt")
@click.argument("target")
@click.option("--device", type=click.Choice(["auto", "meta", "cpu", "cuda"]), default="auto", show_default=True, help="Where to load.")
@partial(rule_options, names_source=True)
@common_options
def command(view: View, ckpt: str, target: str, device: str, given: Given) -> int:
    """Prove that CKPT fits TARGET: its header, every tensor read back, a strict load. Exits 1 when it does not.

    --source PATH is the checkpoint from which CKPT was made by the rules: the values are compared too.
    """
    from ckpt_surgeon.report.outcome import VerifiedReport
    from ckpt_surgeon.verification import verify

    with view.progress("verifying") as progress:
        outcome = verify(
            ckpt,
            target,
            device,
            rules=given.rules,
            source=given.sources.get(""),
            sources={alias: path for alias, path in given.sources.items() if alias},
            variables=given.variables,
            **given.demands,
            arguments=given.arguments,
            progress=progress,
        )
    view.show(VerifiedReport(outcome, ckpt, target, view.verbose))
    return 0
