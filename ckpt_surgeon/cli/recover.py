"""`ckpt-surgeon recover`."""

from __future__ import annotations

import click

from ckpt_surgeon.cli.view import View, common_options

__all__ = ["command"]


@click.command("recover")
@click.argument("path")
@common_options
def command(view: View, path: str) -> int:
    """Finish or undo an in-place edit of PATH which was cut short. Where there is none, nothing happens."""
    from ckpt_surgeon.publishing import recover
    from ckpt_surgeon.report.recovery import RecoveryReport

    view.show(RecoveryReport(path, recover(path)))
    return 0
