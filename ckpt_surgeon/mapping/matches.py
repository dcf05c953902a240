"""Modules of the target which come from modules of the source, while they are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.tree import Node

__all__ = ["Form", "Match", "rebase"]

_CERTAIN = 1 - 1e-6
Form = Literal["plain", "concat", "split", "stack", "unstack"]


@dataclass(frozen=True, slots=True)
class Match:
    """Modules of one decision.

    form: `plain` one to one; `concat` (n sources) and `split` (n targets) along the first dim; `stack` and `unstack` along a
    new one, `parts` tensors of each repetition laid one behind the other before. why: the evidence; doubt: what it leaves open.
    rivals: other sources for the same targets, best first. turned: a square matrix which is transposed.
    """

    targets: tuple[Node, ...]
    sources: tuple[Node, ...]
    confidence: float
    why: str
    form: Form = "plain"
    parts: int = 1
    doubt: str = ""
    rivals: tuple[tuple[Node, ...], ...] = ()
    turned: bool = False

    def within(self, confidence: float, doubt: str = "") -> Match:
        """The match as part of a decision which is itself only so sure."""
        if confidence > _CERTAIN and not doubt:
            return self
        return replace(self, confidence=self.confidence * confidence, doubt=self.doubt or doubt)


def rebase(matches: Sequence[Match], old: tuple[Node, Node], new: tuple[Node, Node]) -> list[Match]:
    """The matches between two parts, for two other parts of the same templates: module for module."""
    if old == new:
        return list(matches)
    target = dict(zip(old[0].modules, new[0].modules, strict=True))
    source = dict(zip(old[1].modules, new[1].modules, strict=True))
    return [
        replace(
            match,
            targets=tuple(target[node] for node in match.targets),
            sources=tuple(source[node] for node in match.sources),
            rivals=tuple(tuple(source[node] for node in rival if node in source) for rival in match.rivals),
        )
        for match in matches
    ]
