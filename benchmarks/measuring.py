"""One run of one command as a process of its own: wall and CPU time, and the peak of its anonymous memory.

The peak is that of resident minus shared pages in `/proc/PID/statm`, which leaves out the pages of mapped files (the
interpreter, its libraries, weights which are mapped): the kernel could drop those. It is read from outside every 2 ms, which takes
some microseconds and is none of the child's CPU time; a peak shorter than that may be missed, so a row shows the highest of its
rounds. Beside it stands `ru_maxrss`, the kernel's own exact peak of all resident pages, files included: the true figure is never
above it. On a kernel whose counters are kept per core, both are right to 64 pages a core. CPU time is user and system, of the
process and of the children which it waited for; memory is of the process alone, and what the kernel calls its resident peak is never
below that of the process which started it.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from benchmarks.data import ROOT
from benchmarks.figures import Figure

__all__ = ["Check", "JobError", "Job", "remove", "run"]

_SAMPLE_MILLISECONDS = 2
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024
# A package which is installed has its bytecode beside it: the first run, which is not counted, leaves ours there.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_SHOWN = 400  # characters of an error which a report shows


class JobError(Exception):
    """A job which did not end as it has to, or said what it must not."""


@dataclass(frozen=True, slots=True)
class Check:
    """What an output has to be of a source; the expectations are those of `benchmarks.checking`."""

    expectation: str
    source: str
    sampled: bool = False

    def wrong(self, output: str) -> str | None:
        """What is wrong with an output, or None."""
        words = [self.expectation, self.source, output, *(["--sampled"] if self.sampled else [])]
        found = subprocess.run([sys.executable, "-m", "benchmarks.checking", *words], capture_output=True, text=True, check=False, cwd=ROOT)
        return None if found.returncode == 0 else (found.stdout + found.stderr).strip()[-_SHOWN:]


@dataclass(frozen=True, slots=True)
class Job:
    """A command and what has to come of it.

    output: what it writes; taken away before the run. before: commands which prepare it, outside the measured time.
    statuses: the exit statuses which it may have. says: text which has to stand in what it prints. check: of its output.
    """

    name: str
    command: tuple[str, ...]
    output: str | None = None
    before: tuple[tuple[str, ...], ...] = ()
    statuses: tuple[int, ...] = (0,)
    says: str = ""
    check: Check | None = None


def run(job: Job) -> Figure:
    """Run a job once and measure it. Raises JobError."""
    remove(job.output)
    for command in job.before:
        subprocess.run(command, check=True, cwd=ROOT)
    with TemporaryFile() as printed:
        figure, status = _measured(job.command, printed)
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    if status not in job.statuses:
        raise JobError(f"exit {status} instead of {' or '.join(map(str, job.statuses))}: {text.strip()[-_SHOWN:]}")
    if job.says not in text:
        raise JobError(f"it does not say {job.says!r}: {text.strip()[-_SHOWN:]}")
    return figure


def remove(path: str | None) -> None:
    """Take an output away, be it a file, a folder or nothing."""
    if path is None:
        return
    if Path(path).is_dir():
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def _measured(command: tuple[str, ...], printed: IO[bytes]) -> tuple[Figure, int]:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, cwd=ROOT, env=_ENVIRONMENT)
    anonymous = _watch(process.pid)
    wall = time.perf_counter() - started
    _, raw, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(raw)
    figure = Figure(wall, usage.ru_utime + usage.ru_stime, anonymous / _MIB, usage.ru_maxrss / 1024)
    return figure, process.returncode


def _watch(pid: int) -> int:
    """Wait until a child ends, without reaping it; gives the highest count of its anonymous bytes."""
    ended, memory = os.pidfd_open(pid), os.open(f"/proc/{pid}/statm", os.O_RDONLY)
    poll, highest = select.poll(), 0
    poll.register(ended, select.POLLIN)
    try:
        while not poll.poll(_SAMPLE_MILLISECONDS):
            _, resident, shared, *_ = map(int, os.pread(memory, 256, 0).split())
            highest = max(highest, (resident - shared) * _PAGE)
    finally:
        os.close(ended)
        os.close(memory)
    return highest
