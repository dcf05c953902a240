"""`ckpt-surgeon verify`."""

from __future__ import annotations

from functools import partial

import click

from ckpt_surgeon.cli.lineage_options import IN_HEADER
from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("verify")
@click.argument("ckpt")
@click.argument("target", required=False)
@click.option("--device", type=click.Choice(["auto", "meta", "cpu", "cuda"]), default="auto", show_default=True, help="Where to load.")
@click.option(
    "--manifest",
    is_flag=False,
    flag_value=IN_HEADER,
    metavar="[FILE]",
    help="Hold CKPT against the manifest in its header (or in FILE) instead of a TARGET; with --source, make it anew from that.",
)
@partial(rule_options, names_source=True)
@common_options
def command(view: View, ckpt: str, target: str | None, device: str, manifest: str | None, given: Given) -> int:
    """Prove that CKPT fits TARGET: its header, every tensor read back, a strict load. Exits 1 when it does not.

    --source PATH is the checkpoint from which CKPT was made by the rules: the values are compared too.
    """
    if manifest is not None:
        return _verified_by_manifest(view, ckpt, target, manifest, given)
    if target is None:
        raise click.UsageError("what is it held against? Give a TARGET, or --manifest", click.get_current_context())
    from ckpt_surgeon.report.outcome import VerifiedReport
    from ckpt_surgeon.verification import verify

    with view.progress("verifying") as progress:
        outcome = verify(
            ckpt,
            target,
            device,
            rules=given.rules,
            source=given.sources.get(""),
            sources=_others(given),
            variables=given.variables,
            **given.demands,
            arguments=given.arguments,
            progress=progress,
        )
    view.show(VerifiedReport(outcome, ckpt, target, view.verbose))
    return 0


def _others(given: Given) -> dict[str, str]:
    return {alias: path for alias, path in given.sources.items() if alias}


def _verified_by_manifest(view: View, ckpt: str, target: str | None, manifest: str, given: Given) -> int:
    context, source, others = click.get_current_context(), given.sources.get(""), _others(given)
    if target is not None or given.rules is not None:
        raise click.UsageError("--manifest takes the place of TARGET and of rules; bare, it stands behind CKPT", context)
    if others and source is None:
        raise click.UsageError("--manifest makes CKPT anew from --source PATH; others (--source ALIAS=PATH) stand beside it", context)
    from ckpt_surgeon.provenance import verify_lineage
    from ckpt_surgeon.report.provenance import ProofReport

    with view.progress("verifying") as progress:
        proof = verify_lineage(ckpt, manifest or None, source=source, sources=others, progress=progress)
    view.show(ProofReport(proof, ckpt))
    return 0
