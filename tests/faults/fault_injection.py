"""The real command line under strace, which lets one system call fail, or ends the process there; every call in turn."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_scenarios import Scenario, Stage

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(", re.MULTILINE)
# Calls which only look; they fail as a broken disk makes them fail, for they can't know of space.
_LOOKING = frozenset(
    {"newfstatat", "fstat", "lseek", "ioctl", "getdents64", "pread64", "read", "readlink", "statfs", "stat", "lstat", "statx"}
)
_SPACE_ERRORS = ("ENOSPC", "EIO", "EDQUOT")
_SIGNALS = {"TERM": 143, "INT": 130, "HUP": 129}
_MOST_CALLS = 1000


@dataclass(frozen=True)
class Injection:
    """What happens at the n-th call (from 1) of a name: an error (`EIO`), or a signal (`KILL`)."""

    call: str
    number: int
    event: str

    @property
    def is_signal(self) -> bool:
        return not self.event.startswith("E")

    @property
    def option(self) -> str:
        kind = "signal" if self.is_signal else "error"
        return f"inject={self.call}:{kind}={self.event}:when={self.number}"

    def violations(self, stage: Stage) -> list[str]:
        """Run it on a fresh stage; which promises are broken."""
        stage.lay()
        code = run(stage, ["-e", f"trace={_traced(stage.scenario, self.call)}", "-e", self.option])
        codes = (0, _SIGNALS[self.event]) if self.event in _SIGNALS else (0, 5)
        killed = self.event == "KILL" and code == -9
        return [f"{self.call} {self.number} {self.event}: {each}" for each in stage.violations(code=code, codes=codes, killed=killed)]


def why_not() -> str:
    """Why nothing can be injected here, or an empty string."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(
        ["strace", "-o", os.devnull, "-e", "inject=getppid:error=EIO", "true"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()}"


def injections(stage: Stage) -> list[Injection]:
    """All which can happen to a run on this stage, from the calls of one which is only watched."""
    log = stage.folder / "calls"
    stage.lay()
    if run(stage, ["-o", str(log), "-e", f"trace={_traced(stage.scenario, 'all')}"]) != 0:
        raise RuntimeError(f"the run which is only watched fails: {stage.scenario.name}")
    return list(_all(_LINE.findall(log.read_text()), stage.scenario))


def run(stage: Stage, options: list[str]) -> int:
    """The exit code of the command line on a stage; a signal is negative."""
    output = [] if "-o" in options else ["-o", os.devnull]
    lacking = ["-e", "inject=renameat2:error=EINVAL"] if stage.scenario.lacks_exchange else []
    paths = [word for path in stage.paths() for word in ("-P", path)]
    command = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        *output,
        *paths,
        *options,
        *lacking,
        sys.executable,
        "-m",
        "ckpt_surgeon",
        *stage.words,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, cwd=stage.given, env=environment, check=False, timeout=120)
    return done.returncode


def _traced(scenario: Scenario, call: str) -> str:
    return f"{call},renameat2" if scenario.lacks_exchange and call not in ("all", "renameat2") else call


def _all(calls: list[str], scenario: Scenario) -> Iterator[Injection]:
    seen: Counter[str] = Counter()
    for i, call in enumerate(calls[:_MOST_CALLS]):
        seen[call] += 1
        if scenario.lacks_exchange and call == "renameat2":
            continue  # it fails always
        yield from (Injection(call, seen[call], event) for event in (("EIO",) if call in _LOOKING else _SPACE_ERRORS))
        if call not in _LOOKING:  # to be stopped before a look is to be stopped before what comes next
            yield Injection(call, seen[call], "KILL")
            yield Injection(call, seen[call], list(_SIGNALS)[i % len(_SIGNALS)])
