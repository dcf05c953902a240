"""The group of commands: each is loaded when it is used, every run ends in an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from ckpt_surgeon.cli.faults import guarded

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, str] = {
    "inspect": "ckpt_surgeon.cli.inspect",
    "diff": "ckpt_surgeon.cli.diff",
    "suggest": "ckpt_surgeon.cli.suggest",
    "remap": "ckpt_surgeon.cli.remap",
    "explain": "ckpt_surgeon.cli.explain",
    "invert": "ckpt_surgeon.cli.invert",
    "verify": "ckpt_surgeon.cli.verify",
    "recover": "ckpt_surgeon.cli.recover",
    "demo": "ckpt_surgeon.cli.demo",
    "schema": "ckpt_surgeon.cli.schema",
}
_NAME = "ckpt-surgeon"


class _Application(click.Group):
    """Commands by name; `main` ends the process with the exit codes of this tool instead of click's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run the arguments (default: those of the process) and exit. What click's own `main` takes beside them is left out."""
        words = list(sys.argv[1:] if args is None else args)
        sys.exit(guarded(lambda: self._run(words), debug="--debug" in words))

    def _run(self, words: list[str]) -> int:
        with self.make_context(_NAME, words) as context:
            code: int | None = self.invoke(context)
        return code or 0


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ckpt_surgeon import __version__

        click.echo(f"{_NAME} {__version__}")
        context.exit()


@click.command(cls=_Application, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version and exit.")
def main() -> None:
    """See what of a checkpoint will load, fix its names and shapes by rules, and prove it, before load_state_dict.

    SOURCE and TARGET are checkpoints (a file, a folder of shards, an index.json, a URL; PATH#TABLE picks a table inside)
    or models (pkg.module:factory).

    Exit status: 0 done, no difference; 1 a negative answer; 2 usage; 3 input refused; 4 rules or model refused;
    5 input/output fault; 70 a bug.
    """
