"""The documents are in step with the code and with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from code_blocks import blocks_of, links_of

PAGES = ("README.md", "README.zh-CN.md", "CHANGELOG.md", "docs", "examples")


def pages(repository: Path) -> list[Path]:
    roots = [repository / name for name in PAGES]
    return [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*.md")))]


def commands() -> list[str]:
    from ckpt_surgeon.cli import COMMANDS

    return sorted(COMMANDS)


def test_both_readmes_show_the_same_code(repository: Path) -> None:
    english, chinese = (
        [(block.language, block.text) for block in blocks_of(repository / name)] for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese


def test_both_readmes_have_the_same_sections(repository: Path) -> None:
    levels = [
        re.findall(r"^(#+) ", (repository / name).read_text(encoding="utf-8"), re.MULTILINE) for name in ("README.md", "README.zh-CN.md")
    ]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_every_command_is_in_the_readme(name: str, repository: Path) -> None:
    text = (repository / name).read_text(encoding="utf-8")
    assert [command for command in commands() if f"`{command}`" not in text] == []


def test_every_op_is_in_the_documents(repository: Path) -> None:
    from ckpt_surgeon.ops import OPS

    text = (repository / "docs" / "ops.md").read_text(encoding="utf-8")
    assert [name for name in OPS if f"`{name}`" not in text] == []


def test_the_changelog_says_what_comes_next(repository: Path) -> None:
    assert re.search(r"^## \[Unreleased\]$", (repository / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_links_lead_somewhere(repository: Path) -> None:
    links = [(page, link) for page in pages(repository) for link in links_of(page) if "://" not in link]
    assert [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_schema_of_rules_is_the_one_which_the_command_prints(repository: Path) -> None:
    printed = subprocess.run([sys.executable, "-m", "ckpt_surgeon", "schema"], capture_output=True, text=True, check=True).stdout
    assert printed == (repository / "docs" / "schemas" / "rules.json").read_text(encoding="utf-8")


def test_the_floors_on_the_page_are_those_of_the_contract(repository: Path) -> None:
    contract = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
    page = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", page, re.MULTILINE)
    shown = [set(re.findall(r"[a-z_]+", row)) for row in rows]
    assert shown == [set(re.findall(r"[a-z_]+", layer)) for layer in contract["layers"]]


def test_no_page_names_a_path_of_one_machine(repository: Path) -> None:
    assert [page for page in pages(repository) if re.search(r"(?<![\w.])/(root|home|work|tmp)/", page.read_text(encoding="utf-8"))] == []
