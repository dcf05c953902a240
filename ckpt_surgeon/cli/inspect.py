"""`ckpt-surgeon inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckpt_surgeon.cli.digest_option import digest_option
from ckpt_surgeon.cli.surgery_options import model_options
from ckpt_surgeon.cli.view import View, common_options

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Digests
    from ckpt_surgeon.keys.pattern import Pattern
    from ckpt_surgeon.spec import Header

__all__ = ["command"]


@click.command("inspect")
@click.argument("ckpt")
@click.option("--match", multiple=True, metavar="PATTERN", help="Only these keys.")
@digest_option("Read all tensors and say what they come to (sha256).")
@model_options
@common_options
def command(view: View, ckpt: str, match: tuple[str, ...], digest: str | None, arguments: dict[str, Any]) -> int:
    """List what CKPT (a checkpoint or a model) holds, by its header alone unless --digest is given; exits 1 where --match finds nothing."""
    from ckpt_surgeon.keys.matching import matching
    from ckpt_surgeon.report.header import HeaderReport

    patterns = _patterns(match)
    header, digests = _read(view, ckpt, arguments, digest)
    shown = set(matching(patterns, header)) if match else None
    view.show(HeaderReport(header, ckpt, shown, digests, view.verbose))
    return 1 if shown is not None and not shown else 0


def _read(view: View, ckpt: str, arguments: dict[str, Any], digest: str | None) -> tuple[Header, Digests | None]:
    """The header, and the digests where they are wanted: both of one file, though another may take its place meanwhile."""
    from ckpt_surgeon.sources import open_source, require_values

    with view.progress("reading") as progress, open_source(ckpt, arguments=arguments, progress=progress) as reader:
        if digest is None:
            return reader.header, None
        from ckpt_surgeon.digests import digests_of

        require_values(reader, "checkpoint")
        return reader.header, digests_of(reader, digest, progress)


def _patterns(texts: tuple[str, ...]) -> list[Pattern]:
    if not texts:
        return []
    from ckpt_surgeon.keys.pattern import Pattern

    return [Pattern.parse(text) for text in texts]
