"""`--digest [ALGORITHM]`, of the commands which move or read all bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ckpt_surgeon.errors import SurgeryError

__all__ = ["digest_option"]

_Function = Callable[..., Any]


def digest_option(text: str) -> Callable[[_Function], _Function]:
    """Give a command the option; it takes `digest`, the name of an algorithm which is there, or None."""
    return click.option("--digest", is_flag=False, flag_value="sha256", metavar="[sha256|blake3]", callback=_available, help=text)


def _available(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    if name is None:
        return None
    from ckpt_surgeon.digests import require_algorithm

    try:
        require_algorithm(name)
    except SurgeryError as error:
        # What is no algorithm is mostly the path which was to follow the bare option.
        raise click.BadParameter(f"{error.problems[0]}; {error.hint or 'a bare --digest stands behind the paths'}") from error
    return name
