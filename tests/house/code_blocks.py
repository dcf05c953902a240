"""A Markdown file as its code blocks, each with its language, its line and whatever comment stands right above it."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks_of", "links_of"]

FENCE = re.compile(r"^```(\w*)\s*$")
NOT_RUN = re.compile(r"^<!--\s*not run:\s*(.+?)\s*-->$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `not_run` is the reason given for leaving it out of the tests, else empty."""

    language: str
    text: str
    line: int
    not_run: str = ""


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a file, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    start = language = None
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if not fence:
            continue
        if start is None:
            start, language = number, fence[1]
            continue
        reason = NOT_RUN.match(lines[start - 1]) if start else None
        found.append(Block(language or "", "\n".join(lines[start + 1 : number]) + "\n", start + 1, reason[1] if reason else ""))
        start = None
    if start is not None:
        raise ValueError(f"{path}:{start + 1}: this block is never closed")
    return found


def links_of(path: Path) -> list[str]:
    """The targets of a file's links, without their anchors."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if target.split("#")[0]]
