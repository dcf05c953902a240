"""Ops which say what stays in the table: drop, keep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Drop, Edit, Move
from ckpt_surgeon.ops.selection import Selection

__all__ = ["DropKeys", "KeepKeys"]


@dataclass(frozen=True, slots=True)
class DropKeys(NameDefaults):
    """The matched keys leave the table.

    >>> DropKeys("fc.**").edits(["fc.weight", "mlp.fc.weight"], None)
    [Drop(source='fc.weight', is_rest=False)]
    """

    name: ClassVar[str] = "drop"
    body: ClassVar[Body] = Body("patterns", only=True)

    patterns: str | tuple[str, ...]

    def __post_init__(self) -> None:
        assign(self, patterns=texts(self.patterns, self.name))
        Selection.of(self.patterns)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A drop for each match."""
        selection = Selection.of(texts(self.patterns, self.name))
        return [Drop(key) for key in keys if selection.matches(key)]


@dataclass(frozen=True, slots=True)
class KeepKeys(NameDefaults):
    """The matched keys stay; all others leave the table.

    >>> KeepKeys("encoder.**").edits(["encoder.fc.weight", "decoder.fc.weight"], None)
    [Move(source='encoder.fc.weight', target='encoder.fc.weight'), Drop(source='decoder.fc.weight', is_rest=True)]
    """

    name: ClassVar[str] = "keep"
    body: ClassVar[Body] = Body("patterns", only=True)

    patterns: str | tuple[str, ...]

    def __post_init__(self) -> None:
        assign(self, patterns=texts(self.patterns, self.name))
        Selection.of(self.patterns)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move to its own name for each match, a drop for all else. Nothing at all where nothing matches: a table is never emptied."""
        selection = Selection.of(texts(self.patterns, self.name))
        kept = {key for key in keys if selection.matches(key)}
        if not kept:
            return []
        return [Move(key, key) if key in kept else Drop(key, is_rest=True) for key in keys]
