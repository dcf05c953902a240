"""The public doors as these tests use them: what a refusal and what a mere description have to look like."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ckpt_surgeon as surgeon
from ckpt_surgeon.cli import main
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.spec import Header

# An answer takes some 0.01 s. Of the processor: the machine may have other work. To watch each line for coverage takes long.
PATIENCE = 1.0 if sys.gettrace() is None else 10.0  # seconds


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_refused(path: Path, error: type[SurgeryError], says: str | None = None) -> None:
    """By the library and both commands: the class, its exit code, one line, in time; nothing is written, nothing imported."""
    files, modules, start = contents(path.parent), set(sys.modules), time.process_time()
    with pytest.raises(SurgeryError, match=says) as caught:
        surgeon.inspect(path)
    assert time.process_time() - start < PATIENCE
    assert type(caught.value) is error, caught.value
    out = path.parent / "out.pt"
    for words in (("inspect", str(path)), ("remap", str(path), "-o", str(out)), ("remap", str(path), "-o", str(out), "--dry-run")):
        assert_told(invoke(*words), error)
    assert contents(path.parent) == files
    assert set(sys.modules) == modules


def assert_told(result: Result, error: type[SurgeryError]) -> None:
    """One line, at most one hint, the exit code of the class, nothing on stdout."""
    lines = result.stderr.splitlines()
    assert result.exit_code == error.exit_code, result.output
    assert [line.partition(": ")[0] for line in lines] in (["error"], ["error", "hint"]), lines
    assert all(line.isprintable() and len(line) < 1100 for line in lines)
    assert result.stdout == ""


def assert_described(path: Path) -> Header:
    """The header is read and shown, nothing else happens."""
    files, modules, start = contents(path.parent), set(sys.modules), time.process_time()
    header = surgeon.inspect(path)
    assert time.process_time() - start < PATIENCE
    shown = invoke("inspect", str(path))
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert invoke("inspect", str(path), "--format", "json").exit_code == 0
    assert contents(path.parent) == files
    assert set(sys.modules) == modules
    return header
