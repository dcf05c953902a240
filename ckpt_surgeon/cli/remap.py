"""`ckpt-surgeon remap`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from ckpt_surgeon.cli.digest_option import digest_option
from ckpt_surgeon.cli.lineage_options import lineage_option, refuse_lineage
from ckpt_surgeon.cli.surgery_options import Given, rule_options
from ckpt_surgeon.cli.view import View, common_options
from ckpt_surgeon.errors import Problem, SurgeryError

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Outcome
    from ckpt_surgeon.formats.protocol import Reader
    from ckpt_surgeon.planning import Plan

__all__ = ["command"]


@click.command("remap")
@click.argument("source")
@click.option("--target", help="The checkpoint or model which the output has to fit.")
@click.option("-o", "--out", metavar="OUT", help="Where to write; the suffix says the format.")
@click.option("--in-place", is_flag=True, help="Give SOURCE itself other names; no weight moves.")
@click.option("--dry-run", is_flag=True, help="Show the plan, write nothing.")
@click.option("--to", type=click.Choice(["safetensors", "sharded", "torch"]), help="The format, whatever the suffix says.")
@click.option("--max-shard-size", metavar="SIZE", help="Cut safetensors larger than this (5GB, 500MB, 2GiB) into shards.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
@click.option("--bare", is_flag=True, help="Leave behind what stands around the weights.")
@click.option(
    "--optimizer", type=click.Choice(["follow", "reset", "drop"]), default="follow", help="What becomes of the optimizer's state."
)
@click.option("--check", is_flag=True, help="Compare the checksums of all bytes, also of those which keep theirs.")
@click.option("--check-roundtrip", is_flag=True, help="Take the output back in memory; refuse it unless it is SOURCE bit for bit.")
@click.option("--once", is_flag=True, help="Refuse a SOURCE which these rules have made already.")
@digest_option("Say what the output's tensors come to (sha256), taken while they are written.")
@lineage_option
@click.option("--verify", is_flag=True, help="Load the output into the target too, strictly.")
@click.option("--device", type=click.Choice(["auto", "meta", "cpu", "cuda"]), help="Where --verify loads.")
@rule_options
@common_options
def command(view: View, source: str, target: str | None, given: Given, **wanted: Any) -> int:
    """Write SOURCE anew: by the rules, for the target. The output is read back; the source is never touched, but by --in-place.

    Without rules it is a conversion. Nothing is written unless everything fits.
    """
    from ckpt_surgeon.sources import open_source
    from ckpt_surgeon.surgery import plan

    max_shard_size = _checked(target, **wanted)
    if wanted["lineage"] is not None:
        refuse_lineage(wanted["lineage"], None if wanted["dry_run"] or wanted["in_place"] else wanted["out"], view.report)
    if wanted["in_place"] and not wanted["dry_run"]:
        _recover(source)
    with view.progress("reading") as progress:
        reader = open_source(source, arguments=given.arguments, progress=progress)
    with reader:
        with view.progress("reading") as progress:
            demands: dict[str, Any] = {
                **given.demands,
                "optimizer": wanted["optimizer"],
                "once": wanted["once"],
                "sources": given.sources,
                "arguments": given.arguments,
                "progress": progress,
            }
            made = plan(source, given.rules, target, given.variables, **demands, reader=reader)
        _warn_of_repetition(made)
        if wanted["dry_run"]:
            return _show_plan(view, made, wanted["in_place"], reader)
        outcome = _carried_out(view, made, reader, **wanted | {"max_shard_size": max_shard_size})
    out = _file_of(source) if wanted["in_place"] else wanted["out"]
    verified = _verified(view, source, out, target, given, wanted) if wanted["verify"] else None
    from ckpt_surgeon.report.outcome import WrittenReport

    view.show(WrittenReport(made, outcome, out, verified, view.verbose))
    return 0


def _file_of(source: str) -> str:
    from ckpt_surgeon.sources import split_table

    return split_table(source)[0]


def _warn_of_repetition(made: Plan) -> None:
    """Say on stderr, too, that the rules run on their own output: whoever looks at the result alone sees the names doubled, not why."""
    if made.is_repeated:
        from ckpt_surgeon.planning.stamping import REPEATED

        click.echo(f"warning: {REPEATED} (--once refuses it)", err=True)


def _recover(source: str) -> None:
    """Finish or undo what an earlier edit has left."""
    import os

    from ckpt_surgeon.publishing import recover

    if os.path.isfile(_file_of(source)):
        recover(_file_of(source))


def _show_plan(view: View, made: Plan, in_place: bool, reader: Reader) -> int:
    """The plan, and whether it can be carried out in place when that was asked; 1 when it cannot."""
    from ckpt_surgeon.report.plan import PlanReport

    found: tuple[Problem, ...] | None = None
    if in_place:
        from ckpt_surgeon.editing import obstacles

        found = obstacles(made, reader=reader)
    view.show(PlanReport(made, view.verbose, found))
    return 1 if found else 0


def _carried_out(view: View, made: Plan, reader: Reader, *, in_place: bool, out: str, max_shard_size: int | None, **wanted: Any) -> Outcome:
    if in_place:
        from ckpt_surgeon.editing import edit

        return edit(made, reader=reader)
    from ckpt_surgeon.execution import write

    writing = {name: wanted[name] for name in ("to", "force", "bare", "check", "check_roundtrip", "digest", "lineage")}
    with view.progress("writing") as progress:
        return write(made, out, **writing, max_shard_size=max_shard_size, progress=progress, reader=reader)


def _checked(target: str | None, *, out: str | None, dry_run: bool, verify: bool, **wanted: Any) -> int | None:
    """The shard size in bytes. Raises click.UsageError for options which do not go together or say nothing."""
    if wanted["digest"] and (wanted["in_place"] or dry_run):
        _refuse_digest("--in-place" if wanted["in_place"] else "--dry-run")
    if wanted["check_roundtrip"] and dry_run:
        raise click.UsageError("--dry-run writes nothing which --check-roundtrip could take back", click.get_current_context())
    if wanted["in_place"]:
        _refuse_beside_in_place(
            out=out, **{name: wanted[name] for name in ("to", "max_shard_size", "force", "bare", "check", "check_roundtrip")}
        )
    elif out is None and not dry_run:
        raise click.UsageError("where to? Give -o OUT, --in-place or --dry-run", click.get_current_context())
    if verify and target is None:
        raise click.UsageError("--verify needs --target", click.get_current_context())
    if wanted["device"] is not None and not verify:
        raise click.UsageError("--device needs --verify", click.get_current_context())
    try:
        if out is not None:
            from ckpt_surgeon.formats.creating import format_of

            format_of(out, wanted["to"])
        if wanted["max_shard_size"] is None:
            return None
        from ckpt_surgeon.shards import parse_size

        return parse_size(wanted["max_shard_size"])
    except SurgeryError as error:
        raise click.UsageError(str(error.problems[0]), click.get_current_context()) from error


def _refuse_beside_in_place(**options: Any) -> None:
    """click.UsageError for options which say where and how another file is written."""
    given = ["-o" if name == "out" else f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise click.UsageError(f"--in-place writes no other file, so it excludes {', '.join(given)}", click.get_current_context())


def _refuse_digest(other: str) -> NoReturn:
    """click.UsageError: where no tensor is written, none is read."""
    hint = "`inspect CKPT --digest` reads a file for it"
    raise click.UsageError(f"{other} writes no tensors, of which --digest could be taken; {hint}", click.get_current_context())


def _verified(view: View, source: str, out: str, target: str | None, given: Given, wanted: dict[str, Any]) -> Outcome:
    """What `verify` says of the output. One which was edited in place is itself all that there is: it has no source to be held against."""
    from ckpt_surgeon.verification import verify

    rest: dict[str, Any] = {"arguments": given.arguments, **given.demands}
    if not wanted["in_place"]:
        rest |= {"rules": given.rules, "source": source, "sources": given.sources, "variables": given.variables}
    with view.progress("verifying") as progress:
        return verify(source if wanted["in_place"] else out, target, wanted["device"] or "auto", **rest, progress=progress)
