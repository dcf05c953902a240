"""The options which every command has, as one value: how results are shown, and where else they go."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from typing import IO, TYPE_CHECKING, Any

import click

from ckpt_surgeon.cli.output import put
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.cli.progress import ProgressLine
    from ckpt_surgeon.report.page import Report
    from ckpt_surgeon.report.rendering import Form

__all__ = ["View", "common_options"]

_FORMS = ("table", "json", "md", "html")
_SUFFIXES: dict[str, Form] = {".txt": "table", ".json": "json", ".md": "md", ".html": "html"}

_Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class View:
    """How a command's result is shown. `stdout` is the real one: inside a command, prints of foreign code go to stderr.

    report: the file to which it goes as well; others: the files and folders which the command reads, none of which that may be.
    """

    stdout: IO[str] | None
    form: Form = "table"
    report: str | None = None
    others: tuple[str, ...] = ()
    color: str = "auto"
    quiet: bool = False
    verbose: bool = False

    def show(self, report: Report) -> None:
        """Bring a report to its file, if one was named, and to stdout. Raises DiskError where one of them cannot be written."""
        from ckpt_surgeon.report.rendering import render

        if self.report is not None:
            _write(self.report, render(report, _SUFFIXES[_suffix(self.report)]), self.others)
        put(self.stdout, render(report, self.form, color=self._wants_color()))

    @contextmanager
    def progress(self, label: str) -> Iterator[ProgressLine | None]:
        """A callback for what takes long; None where nobody would see it."""
        stream = sys.stderr
        if self.quiet or stream is None or not stream.isatty():
            yield None
            return
        from ckpt_surgeon.cli.progress import ProgressLine

        line = ProgressLine(label, stream)
        try:
            yield line
        finally:
            line.clear()

    def _wants_color(self) -> bool:
        if self.color != "auto":
            return self.color == "always"
        is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return self.stdout is not None and self.stdout.isatty() and not is_plain


def common_options(function: _Function) -> _Function:
    """Give a command the common options; it takes them as its first argument, a View."""

    @wraps(function)
    def command(form: Form, report: str | None, color: str, quiet: bool, verbose: bool, debug: bool, **rest: Any) -> Any:
        others = () if report is None else _refuse_others(report, click.get_current_context().params)
        view = View(sys.stdout, form, report, others, color, quiet, verbose)
        with redirect_stdout(sys.stderr):
            return function(view, **rest)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _checked_report(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Only names which no checkpoint bears, so that a slip of the hand overwrites none."""
    if path is None:
        return None
    if _suffix(path) not in _SUFFIXES:
        raise click.BadParameter(f"{path!r} does not end in {', '.join(_SUFFIXES)}: the suffix says in which form it is written")
    if path.lower().endswith(".index.json"):
        raise click.BadParameter(f"{path!r} is a name of the index of shards")
    if path.lower().endswith(".lineage.json"):
        raise click.BadParameter(f"{path!r} is a name of a manifest")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise DiskError("its folder does not exist, or cannot be written to", where=path)
    return path


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _refuse_others(report: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    """The paths among what else stands on the command line; DiskError when the report would take the place of one."""
    from ckpt_surgeon.publishing.destination import checked

    values = [value for name, value in given.items() if name != "report" for value in (value if isinstance(value, tuple) else (value,))]
    words = [part for value in values if isinstance(value, str) for part in (value, value.rpartition("#")[0])]
    others = tuple(word for word in words if word and "\0" not in word and os.path.lexists(word))
    out = given.get("out")
    if out is not None and os.path.commonpath(list(map(os.path.realpath, (report, out)))) == os.path.realpath(out):
        raise DiskError("the report would take the place of the output, or lie in it", where=report, hint="give it another name")
    checked(report, others, force=True, is_folder=False)
    return others


def _write(path: str, text: str, others: Sequence[str]) -> None:
    from ckpt_surgeon.output_file import OutputFile
    from ckpt_surgeon.publishing import publish_file

    with publish_file(path, force=True, sources=others) as temporary, OutputFile(temporary) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        file.sync()


_OPTIONS = (
    click.option("--format", "form", type=click.Choice(_FORMS), default="table", show_default=True, help="How to show the result."),
    click.option(
        "--report", metavar="FILE", callback=_checked_report, help="Write it to a file too, over an older one: .txt, .json, .md or .html."
    ),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Auto honors NO_COLOR."),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
    click.option("-v", "--verbose", is_flag=True, help="Each key in its own row, unfolded."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
