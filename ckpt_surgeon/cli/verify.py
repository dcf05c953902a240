"""`ckpt-surgeon verify`."""

from __future__ import annotations

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("verify")
@click.argument("ckpt")
@click.argument("target")
@click.option("--device", type=click.Choice(["auto", "meta", "cpu", "cuda"]), default="auto", show_default=True, help="Where to load.")
@click.option("--source", help="The checkpoint from which CKPT was made by the rules: the values are compared too.")
@rule_options
@common_options
def command(view: View, ckpt: str, target: str, device: str, source: str | None, given: Given) -> int:
    """Prove that CKPT fits TARGET: its header, every tensor read back, a strict load. Exits 1 when it does not."""
    from ckpt_surgeon.report.outcome import VerifiedReport
    from ckpt_surgeon.verification import verify

    with view.progress("verifying") as progress:
        outcome = verify(
            ckpt,
            target,
            device,
            rules=given.rules,
            source=source,
            variables=given.variables,
            **given.demands,
            arguments=given.arguments,
            progress=progress,
        )
    view.show(VerifiedReport(outcome, ckpt, target, view.verbose))
    return 0
