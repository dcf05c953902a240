"""A row of the table: a job, the base which it is measured against, its goal, and what it needs to run at all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.data import ROOT, DataSet
from benchmarks.figures import Goal
from benchmarks.measuring import Job

__all__ = ["TOOL", "HasModule", "HasOption", "Need", "Row", "copy_job", "empty_job", "python_job", "tool_job"]

# The script which pip puts beside the interpreter: what a user types.
TOOL = (str(Path(sys.executable).parent / "ckpt-surgeon"),)


class Need(Protocol):
    """What a row cannot do without."""

    def lacking(self) -> str | None:
        """Why the row cannot run here, or None."""


@dataclass(frozen=True, slots=True)
class HasOption:
    """A command of ours with an option."""

    command: str
    option: str

    def lacking(self) -> str | None:
        found = subprocess.run([*TOOL, self.command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
        return None if f"{self.option} " in found.stdout.replace("\n", " ") else f"`{self.command}` has no {self.option} yet"


@dataclass(frozen=True, slots=True)
class HasModule:
    """An interpreter which can import a module, and beside which stands its script, where it has one."""

    python: str
    module: str
    script: str = ""

    def lacking(self) -> str | None:
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self.module!r}) is None)"
        if subprocess.run([self.python, "-c", code], check=False).returncode:
            return f"{self.module} is not installed"
        if self.script and not Path(self.program).exists():
            return f"{self.module} has no {self.script}"
        return None

    @property
    def program(self) -> str:
        return str(Path(self.python).parent / self.script)


@dataclass(frozen=True, slots=True)
class Row:
    """`start`: the run whose memory, and for a net goal time, is taken off the job's."""

    group: str
    name: str
    job: Job
    base: Job
    goal: Goal
    data: tuple[DataSet, ...] = ()
    start: Job | None = None
    need: Need | None = None


def empty_job() -> Job:
    return Job("python -c pass", (sys.executable, "-c", "pass"))


def python_job(code: str) -> Job:
    return Job(code, (sys.executable, "-c", code))


def copy_job(source: str, output: str) -> Job:
    return Job("cp", ("cp", "-r", source, output), output)


def tool_job(name: str, *words: str, says: str = "", statuses: tuple[int, ...] = (0,)) -> Job:
    """A command of ours which writes nothing."""
    return Job(name, (*TOOL, *words), says=says, statuses=statuses)
