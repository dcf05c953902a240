"""Results on their way out: to stdout and into report files; what becomes of them when nobody takes them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

from ckpt_surgeon.disk import disk_error
from ckpt_surgeon.errors import DiskError

__all__ = ["PipeClosedError", "claim_streams", "put", "settle_output"]

_OUTPUT = "standard output"


class PipeClosedError(Exception):
    """Whoever read our results has enough of them (`| head`)."""


def claim_streams() -> None:
    """Fill closed standard descriptors with the null device, so that no file which is opened later takes their numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def put(stream: IO[str] | None, text: str) -> None:
    """Write a result to a standard stream. Raises DiskError when it cannot be written, PipeClosedError when nobody reads it."""
    if stream is None:
        raise DiskError("it is closed", where=_OUTPUT)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError as error:
        _disconnect(stream)
        raise PipeClosedError from error
    except OSError as error:
        _disconnect(stream)
        raise disk_error(error, _OUTPUT) from error


def settle_output() -> OSError | None:
    """Flush stdout for the last time; what hinders it, if anything does. Nothing is left for the interpreter to stumble over."""
    if sys.stdout is None:
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        _disconnect(sys.stdout)
        return error
    return None


def _disconnect(stream: IO[str]) -> None:
    """Let what is still in the buffer go nowhere, or the interpreter fails on it once more at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
