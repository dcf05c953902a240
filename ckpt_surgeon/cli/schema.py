"""`ckpt-surgeon schema`."""

from __future__ import annotations

import sys

import click

from ckpt_surgeon.cli.output import put
from ckpt_surgeon.cli.surgery_options import plugin_option

__all__ = ["command"]


@click.command("schema")
@plugin_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(debug: bool) -> int:
    """Print the JSON Schema of a rules file, for editors."""
    import json

    from ckpt_surgeon.rules.json_schema import json_schema

    put(sys.stdout, json.dumps(json_schema(), indent=2) + "\n")
    return 0
