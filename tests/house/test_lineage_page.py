"""docs/lineage.md: its example runs, and prints what stands there."""

from pathlib import Path

from code_blocks import blocks_of
from console import Terminal


def test_the_example_runs(repository: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    shown = [block for block in blocks_of(repository / "docs" / "lineage.md") if block.language == "console"]
    assert shown
    for block in shown:
        terminal.check(block.text)
