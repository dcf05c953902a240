"""Every code block of the READMEs runs, in order, in one folder; what a console block shows is what is printed."""

import subprocess
import sys
from pathlib import Path

import pytest
from code_blocks import Block, blocks_of
from console import check_console, environment, matches, run_bash

READMES = ("README.md", "README.zh-CN.md")
WITHOUT_OUTPUT = {"", "text"}  # shown, not run


def run_python(code: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{code}\n{done.stderr}"


def check_yaml(text: str, folder: Path) -> None:
    """A rules file is at least one which can be read."""
    import ckpt_surgeon as surgeon

    path = folder / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    surgeon.read_rules(path)


def run_block(block: Block, folder: Path) -> None:
    if block.language == "console":
        check_console(block.text, folder)
    elif block.language == "bash":
        status, printed = run_bash("set -e\n" + block.text, folder)
        assert status == 0, f"{block.text}\n{printed}"
    elif block.language == "python":
        run_python(block.text, folder)
    elif block.language == "yaml":
        check_yaml(block.text, folder)
    else:
        assert block.language in WITHOUT_OUTPUT, f"nobody knows how to run a block of {block.language}"


@pytest.mark.parametrize("name", READMES)
def test_readme_runs(name: str, repository: Path, tmp_path: Path) -> None:
    for block in blocks_of(repository / name):
        if not block.not_run:
            run_block(block, tmp_path)


CASES = [
    ("one\ntwo\n", "one\ntwo\n", True),
    ("one\ntwo\n", "one\n", False),
    ("one\n...\n", "one\n", True),
    ("one\n...\nfour\n", "one\ntwo\nthree\nfour\n", True),
    ("one\n...\nfour\n", "one\ntwo\nthree\n", False),
    ("a.c\n", "abc\n", False),
    ("one  \n", "one\n", True),
    ("", "", True),
    ("", "something\n", False),
]


@pytest.mark.parametrize(("expected", "printed", "same"), CASES)
def test_shown_output_is_compared_line_by_line(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


def test_a_console_block_is_one_session_and_its_failures_are_announced(tmp_path: Path) -> None:
    check_console("$ echo one \\\n  two\none two\n$ test -e nothing\n$ echo $?\n1\n$ true\n", tmp_path)
    with pytest.raises(AssertionError, match="unannounced"):
        check_console("$ test -e nothing\n$ true\n", tmp_path)
    with pytest.raises(AssertionError, match="unannounced"):
        check_console("$ test -e nothing\n", tmp_path)
    with pytest.raises(AssertionError, match="is not what stands there"):
        check_console("$ echo one\ntwo\n", tmp_path)


def test_blocks_know_their_language_and_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("text\n```bash\nls\n```\n<!-- not run: it needs a network -->\n```\nno\n```\n", encoding="utf-8")
    assert blocks_of(path) == [Block("bash", "ls\n", 2), Block("", "no\n", 6, "it needs a network")]
    path.write_text("```bash\nls\n", encoding="utf-8")
    with pytest.raises(ValueError, match="never closed"):
        blocks_of(path)
