"""Run what a README shows: `console` blocks as typed, with their output compared; `bash`, `python` and `yaml` blocks as they are.

In a console block a line `$ command` is typed, what follows is what it prints (stdout and stderr together). A line of the expected
output which is `...` stands for any lines. A command must succeed unless the next one is `echo $?`, which prints its exit status.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["check_console", "environment", "matches", "run_bash"]


def environment() -> dict[str, str]:
    """The reader's surroundings: the tool on PATH, no color, a fixed width."""
    tools = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}


def run_bash(script: str, folder: Path) -> tuple[int, str]:
    """Exit status and output of a script."""
    command = ["bash", "-uo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


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


def check_console(block: str, folder: Path) -> None:
    """Type the commands of a block into one session and compare what they print."""
    status = 0
    for command, expected in commands_of(block):
        asks_status = command.strip() == "echo $?"
        assert asks_status or status == 0, f"the command before `{command}` exited with {status}, unannounced"
        status, printed = run_bash(f"(exit {status})\n{command}", folder)
        assert matches(expected, printed), f"$ {command}\n{printed}\n--- is not what stands there:\n{expected}"
    assert status == 0, f"the last command exited with {status}, unannounced"
