"""Every code block of the READMEs runs, in order, in one session; what a console block shows is what is printed."""

import re
from pathlib import Path

import pytest
from code_blocks import Block, blocks_of
from console import Terminal, matches

READMES = ("README.md", "README.zh-CN.md")
PAGES_WITH_RULES = ("docs/rules.md", "docs/ops.md", "docs/suggest.md")
SHOWN_ONLY = {"", "text"}


def check_rules(text: str, folder: Path) -> None:
    """A rules file which is shown can be read."""
    from ckpt_surgeon.sources import rules_of

    path = folder / "shown.yaml"
    path.write_text(text, encoding="utf-8")
    assert rules_of(path).rules or "rules: []" in text


def run_block(block: Block, terminal: Terminal, folder: Path) -> None:
    if block.language == "console":
        terminal.check(block.text)
    elif block.language == "bash":
        printed = terminal.type(f"set -e\n{block.text}")
        assert terminal.status == 0, f"{block.text}\n{printed}"
    elif block.language == "python":
        terminal.python(block.text)
    elif block.language == "yaml":
        check_rules(block.text, folder)
    else:
        assert block.language in SHOWN_ONLY, f"nobody knows how to run a block of {block.language}"


def test_readme_runs(repository: Path, tmp_path: Path) -> None:
    """The English one alone: that both show the same code is a test of its own."""
    (tmp_path / "session").mkdir()
    terminal = Terminal(tmp_path / "session")
    for block in blocks_of(repository / "README.md"):
        if not block.not_run:
            run_block(block, terminal, tmp_path)


@pytest.mark.parametrize("name", PAGES_WITH_RULES)
def test_rules_in_the_documents_can_be_read(name: str, repository: Path, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(repository / name) if block.language == "yaml" and not block.not_run]
    for block in blocks:
        check_rules(block.text, tmp_path)


@pytest.mark.parametrize("name", READMES)
def test_the_rules_in_the_table_can_be_read(name: str, repository: Path) -> None:
    import yaml

    from ckpt_surgeon.ops import OPS
    from ckpt_surgeon.sources import rules_of

    prose = re.sub(r"```.*?```", "", (repository / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    spans = [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", prose)]
    shown = [span for span in spans if ": " in span and span.split(":")[0] in OPS]
    assert len(shown) >= 10
    for span in shown:
        assert len(rules_of([yaml.safe_load(span)]).rules) == 1


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
    Terminal(tmp_path).check("$ echo one \\\n  two\none two\n$ test -e nothing\n$ echo $?\n1\n$ true\n")
    with pytest.raises(AssertionError, match="unannounced"):
        Terminal(tmp_path).check("$ test -e nothing\n$ true\n")
    with pytest.raises(AssertionError, match="unannounced"):
        Terminal(tmp_path).check("$ test -e nothing\n")
    with pytest.raises(AssertionError, match="is not what stands there"):
        Terminal(tmp_path).check("$ echo one\ntwo\n")


def test_a_session_follows_the_reader_into_a_folder(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.check("$ mkdir inner && cd inner\n$ touch here && ls\nhere\n")
    assert terminal.folder == tmp_path / "inner"
    terminal.python("open('here')")
    with pytest.raises(AssertionError, match="FileNotFoundError"):
        terminal.python("open('there')")


def test_blocks_know_their_language_and_their_reason(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("text\n```bash\nls\n```\n<!-- not run: it needs a network -->\n```\nno\n```\n", encoding="utf-8")
    assert blocks_of(path) == [Block("bash", "ls\n", 2), Block("", "no\n", 6, "it needs a network")]
    path.write_text("```bash\nls\n", encoding="utf-8")
    with pytest.raises(ValueError, match="never closed"):
        blocks_of(path)
