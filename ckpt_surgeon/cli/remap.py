"""`ckpt-surgeon remap`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options
from ckpt_surgeon.errors import SurgeryError

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Outcome

__all__ = ["command"]


@click.command("remap")
@click.argument("source")
@click.option("--target", help="The checkpoint or model which the output has to fit.")
@click.option("-o", "--out", metavar="OUT", help="Where to write; the suffix says the format.")
@click.option("--dry-run", is_flag=True, help="Show the plan, write nothing.")
@click.option("--to", type=click.Choice(["safetensors", "sharded", "torch"]), help="The format, whatever the suffix says.")
@click.option("--max-shard-size", metavar="SIZE", help="Cut safetensors larger than this (5GB, 500MB, 2GiB) into shards.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
@click.option("--bare", is_flag=True, help="Leave behind what stands around the weights.")
@click.option("--check", is_flag=True, help="Compare the checksums of all bytes, also of those which keep theirs.")
@click.option("--verify", is_flag=True, help="Load the output into the target too, strictly.")
@click.option("--device", type=click.Choice(["auto", "meta", "cpu", "cuda"]), help="Where --verify loads.")
@rule_options
@common_options
def command(view: View, source: str, target: str | None, given: Given, **wanted: Any) -> int:
    """Write SOURCE anew: by the rules, for the target. The output is read back; the source is never touched.

    Without rules it is a conversion. Nothing is written unless everything fits.
    """
    from ckpt_surgeon.report.outcome import WrittenReport
    from ckpt_surgeon.report.plan import PlanReport
    from ckpt_surgeon.surgery import plan

    max_shard_size = _checked(target, **wanted)
    with view.progress("reading") as progress:
        made = plan(source, given.rules, target, given.variables, **given.demands, arguments=given.arguments, progress=progress)
    if wanted["dry_run"]:
        view.show(PlanReport(made, view.verbose))
        return 0
    from ckpt_surgeon.execution import write

    out, writing = wanted["out"], {name: wanted[name] for name in ("to", "force", "bare", "check")}
    with view.progress("writing") as progress:
        outcome = write(made, out, **writing, max_shard_size=max_shard_size, progress=progress)
    verified = _verified(view, source, out, target, given, wanted["device"]) if wanted["verify"] else None
    view.show(WrittenReport(made, outcome, out, verified, view.verbose))
    return 0


def _checked(target: str | None, *, out: str | None, dry_run: bool, verify: bool, **wanted: Any) -> int | None:
    """The shard size in bytes. Raises click.UsageError for options which do not go together or say nothing."""
    from ckpt_surgeon.formats.creating import format_of
    from ckpt_surgeon.shards import parse_size

    if out is None and not dry_run:
        raise click.UsageError("where to? Give -o OUT, or --dry-run", click.get_current_context())
    if verify and target is None:
        raise click.UsageError("--verify needs --target", click.get_current_context())
    if wanted["device"] is not None and not verify:
        raise click.UsageError("--device needs --verify", click.get_current_context())
    try:
        if out is not None:
            format_of(out, wanted["to"])
        return None if wanted["max_shard_size"] is None else parse_size(wanted["max_shard_size"])
    except SurgeryError as error:
        raise click.UsageError(str(error.problems[0]), click.get_current_context()) from error


def _verified(view: View, source: str, out: str, target: str | None, given: Given, device: str | None) -> Outcome:
    from ckpt_surgeon.verification import verify

    rest: dict[str, Any] = {"rules": given.rules, "source": source, "variables": given.variables, "arguments": given.arguments}
    with view.progress("verifying") as progress:
        return verify(out, target, device or "auto", **rest, **given.demands, progress=progress)
