"""The options of `suggest` which ask for more than headers, as one value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

__all__ = ["evidence_options"]

_Function = Callable[..., Any]


def evidence_options(function: _Function) -> _Function:
    """Give a command the options of evidence; it takes them as its argument `evidence`, as `suggestion` does."""

    @wraps(function)
    def command(*words: Any, probe: bool, probe_input: str | None, source_model: str | None, values: bool, **rest: Any) -> Any:
        if probe != (probe_input is not None):
            raise click.UsageError("--probe and --probe-input go together: what is to be run, and on what")
        if source_model is not None and not probe:
            raise click.UsageError("--source-model is for --probe")
        return function(*words, evidence={"probe": _probe(probe_input, source_model), "values": values}, **rest)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _probe(inputs: str | None, source_model: str | None) -> Any:
    if inputs is None:
        return None
    from ckpt_surgeon.probing import Probe

    return Probe(inputs, source_model)


_OPTIONS = (
    click.option("--values", is_flag=True, help="Let the values tell what headers leave open; only those are read."),
    click.option("--probe", is_flag=True, help="Run both models, and let their outputs tell what headers leave open."),
    click.option("--probe-input", metavar="SHAPE", help="What they are run on: 1x3x224x224, or pkg.module:inputs, which gives it."),
    click.option("--source-model", metavar="FACTORY", help="The model of SOURCE, pkg.module:factory, where SOURCE is a checkpoint."),
)
