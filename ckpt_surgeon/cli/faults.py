"""Whatever goes wrong -> lines on stderr and an exit code, in one place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import click

from ckpt_surgeon.cli.output import PipeClosedError, claim_streams, settle_output
from ckpt_surgeon.cli.signals import Stopped, stopping_signals
from ckpt_surgeon.errors import DiskError, SurgeryError

__all__ = ["BROKEN_PIPE", "BUG", "USAGE", "guarded"]

USAGE, BUG, BROKEN_PIPE = 2, 70, 141
_SIGNALLED = 128  # + the signal's number, as shells say it
_MOST_PROBLEMS = 50  # lines; who has more has one cause


def guarded(body: Callable[[], int], *, debug: bool) -> int:
    """Run a command and give its exit code; a failure is told on stderr, with its traceback only where `debug` asks for it."""
    try:
        claim_streams()
        with stopping_signals():
            code = body()
    except BaseException as error:  # noqa: BLE001 the edge: nothing may leave with a traceback
        if debug and not isinstance(error, click.ClickException | click.exceptions.Exit):
            _tell_traceback()
        code, lines = _told(error)
        _tell(lines)
    return _settled(code)


def _settled(code: int) -> int:
    """The exit code, once stdout has taken what it was given."""
    fault = settle_output()
    if fault is None or code > 1:
        return code
    code, lines = _told(fault)
    _tell(lines)
    return code


def _told(error: BaseException) -> tuple[int, list[str]]:
    """The exit code of an ending which is no return, and what is said about it."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code, []
    if isinstance(error, PipeClosedError | BrokenPipeError):
        return BROKEN_PIPE, []
    if isinstance(error, SurgeryError):
        return error.exit_code, list(_problem_lines(error))
    if isinstance(error, click.ClickException):
        return USAGE, list(_usage_lines(error))
    if isinstance(error, Stopped):
        return _SIGNALLED + error.number, [f"error: stopped by {error}"]
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _SIGNALLED + 2, ["error: stopped by SIGINT"]
    if isinstance(error, OSError):
        return DiskError.exit_code, list(_problem_lines(DiskError(error.strerror or str(error), where=str(error.filename or ""))))
    if isinstance(error, MemoryError):
        return DiskError.exit_code, ["error: out of memory"]
    return BUG, [f"error: a bug here: {type(error).__name__}: {error}", "hint: run it again with --debug, and report what it says"]


def _problem_lines(error: SurgeryError) -> Iterator[str]:
    yield from (f"error: {problem}" for problem in error.problems[:_MOST_PROBLEMS])
    if len(error.problems) > _MOST_PROBLEMS:
        yield f"error: and {len(error.problems) - _MOST_PROBLEMS} more of the same phase"
    if error.hint:
        yield f"hint: {error.hint}"


def _usage_lines(error: click.ClickException) -> Iterator[str]:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "ckpt-surgeon"
    yield f"error: {path}: {error.format_message()}"
    yield f"hint: {path} --help"


def _tell(lines: list[str]) -> None:
    if not lines:
        return
    from ckpt_surgeon.report.prose import one_line

    with suppress(OSError, ValueError, AttributeError):
        text = "".join(f"{one_line(line)}\n" for line in lines)
        encoding = sys.stderr.encoding or "ascii"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stderr.flush()


def _tell_traceback() -> None:
    import traceback

    with suppress(OSError, ValueError, AttributeError):
        traceback.print_exc()
