"""One reader's terminal: runs what a page shows, in order, and compares what `console` blocks say is printed.

In a console block a line `$ command` is typed; the lines under it are what it prints, stdout and stderr together. An expected line
`...` stands for any number of lines. A command must succeed unless the next one is `echo $?`, which prints its exit status.
"""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Terminal", "matches"]

TYPED = "(exit {status})\n{command}\nstatus=$?\npwd > '{note}'\nexit $status"


def matches(expected: str, printed: str) -> bool:
    """Whether the printed lines are the expected ones; an expected line `...` takes any number of lines."""
    lines = [line.rstrip() for line in expected.strip("\n").splitlines()]
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line) + "\n" for line in lines)
    text = "".join(line.rstrip() + "\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None


def commands_of(block: str) -> list[tuple[str, str]]:
    """`$ command` lines, each with the output expected of it; a line which ends in a backslash goes on in the next."""
    found: list[tuple[str, str]] = []
    continued = False
    for line in block.splitlines():
        if continued:
            command, _ = found.pop()
            found.append((f"{command}\n{line}", ""))
        elif line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, output = found.pop()
            found.append((command, f"{output}{line}\n"))
        continued = line.endswith("\\") and not found[-1][1]
    return found


@dataclass
class Terminal:
    """A session: its folder moves with `cd`, its last exit status is kept."""

    folder: Path
    status: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The tool and this Python first on PATH, no color, a fixed width."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "120", "LC_ALL": "C.UTF-8"}

    def type(self, command: str) -> str:
        """Run a command (or a script) in the session; what it prints."""
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as note:
            done = self._run(["bash", "-uo", "pipefail", "-c", TYPED.format(status=self.status, command=command, note=note.name)])
            self.folder = Path(note.read().strip() or self.folder)
        self.status = done.returncode
        return done.stdout

    def python(self, code: str) -> None:
        """Run a program; it must succeed."""
        done = self._run([sys.executable, "-c", code])
        assert done.returncode == 0, f"{code}\n{done.stdout}"

    def check(self, block: str) -> None:
        """Type the commands of a console block and compare what they print."""
        for command, expected in commands_of(block):
            assert command.strip() == "echo $?" or self.status == 0, f"exit {self.status} before `{command}`, unannounced"
            printed = self.type(command)
            assert matches(expected, printed), f"$ {command}\n{printed}\n--- is not what stands there:\n{expected}"
        assert self.status == 0, f"exit {self.status} at the end, unannounced"

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
