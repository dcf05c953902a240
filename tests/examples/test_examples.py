"""Each example runs as its README says and prints what stands in its `expected_output.txt`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and path.name[0].isdigit())
NAMES = [folder.name for folder in FOLDERS]


def script_of(folder: Path) -> Path:
    return next(folder.glob("run.*"))


def run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in an empty folder, the tool and this Python first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash" if script.suffix == ".sh" else sys.executable, str(script)]
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "120", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_an_example_prints_what_is_expected_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    before = files_of(folder)
    done = run(script_of(folder), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (folder / "expected_output.txt").read_text(encoding="utf-8")
    assert files_of(folder) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_an_example_says_how_to_run_it_and_has_rules(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^    (python )?examples/{folder.name}/{script_of(folder).name}$", text, re.MULTILINE)
    assert list(folder.glob("*.yaml"))


def test_every_example_is_in_the_table() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}/README.md)" not in text] == []
