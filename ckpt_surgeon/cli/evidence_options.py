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
        for name, value in (("--probe-input", probe_input), ("--source-model", source_model)):
            if value is not None and not probe:
                raise click.UsageError(f"{name} is for --probe")
        evidence = {"probe": _probe(probe_input, source_model) if probe else None, "values": values}
        return function(*words, evidence=evidence, **rest)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _probe(inputs: str | None, source_model: str | None) -> Any:
    from ckpt_surgeon.probing import Probe

    return Probe(inputs, source_model)


_OPTIONS = (
    click.option(
        "--values", is_flag=True, help="Let the values tell what headers leave open, and hold what they settle against samples of them."
    ),
    click.option("--probe", is_flag=True, help="Run both models, and let their outputs tell what headers leave open."),
    click.option(
        "--probe-input",
        metavar="SHAPE",
        help="What they are run on: 1x3x224x224, or pkg.module:inputs, which gives it; else drawn for their first layers.",
    ),
    click.option("--source-model", metavar="FACTORY", help="The model of SOURCE, pkg.module:factory, where SOURCE is a checkpoint."),
)
