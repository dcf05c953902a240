"""Ops on how keys start: strip_prefix, add_prefix."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Edit, Move
from ckpt_surgeon.ops.selection import Selection

__all__ = ["AddPrefix", "StripPrefix", "segments_of"]

_WILD = re.compile(r"[*{}]")


@dataclass(frozen=True, slots=True)
class StripPrefix(NameDefaults):
    """Take prefixes away from keys: each at most once, in the order of the list. The last dot may be left out.

    >>> StripPrefix("module.").edits(["module.fc.weight", "modules.fc.weight"], None)
    [Move(source='module.fc.weight', target='fc.weight')]
    """

    name: ClassVar[str] = "strip_prefix"
    body: ClassVar[Body] = Body("prefixes")

    prefixes: str | tuple[str, ...]

    def __post_init__(self) -> None:
        assign(self, prefixes=texts(self.prefixes, self.name))
        self._heads()

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key which starts with one of the prefixes."""
        heads = self._heads()
        first = tuple(heads)  # if it starts with none of them as it is, taking one away changes nothing either
        return [Move(key, _stripped(key, heads)) for key in keys if key.startswith(first) and _stripped(key, heads) != key]

    def _heads(self) -> list[str]:
        return [".".join(segments_of(prefix, self.name)) + "." for prefix in texts(self.prefixes, self.name)]


@dataclass(frozen=True, slots=True)
class AddPrefix(NameDefaults):
    """Put a prefix before keys. The last dot may be left out.

    match: the keys which get it; all of them where left out.

    >>> AddPrefix("base_model", match="layer{i:int}.**").edits(["layer1.0.weight", "fc.weight"], None)
    [Move(source='layer1.0.weight', target='base_model.layer1.0.weight')]
    """

    name: ClassVar[str] = "add_prefix"
    body: ClassVar[Body] = Body("prefix")

    prefix: str
    match: str | tuple[str, ...] = "**"

    def __post_init__(self) -> None:
        segments_of(self.prefix, self.name)
        assign(self, match=texts(self.match, f"{self.name}: match"))
        Selection.of(self.match)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each match."""
        selection = Selection.of(texts(self.match, f"{self.name}: match"))
        head = ".".join(segments_of(self.prefix, self.name))
        return [Move(key, f"{head}.{key}") for key in keys if selection.matches(key)]


def segments_of(prefix: object, name: str) -> tuple[str, ...]:
    """The segments of a prefix, with or without its last dot. RulesError where it is no run of plain segments."""
    (given,) = texts(prefix, name) if isinstance(prefix, str) else ("",)
    segments = tuple(given.removesuffix(".").split("."))
    if "" in segments:
        raise RulesError(f"{name}: {prefix!r} is no prefix; it has an empty segment", hint="Such as `module.` or `model.backbone`.")
    if given.startswith("re:") or _WILD.search(given):
        raise RulesError(f"{name}: {prefix!r} is a pattern; plain text is wanted here", hint="`rename` and `replace` take patterns.")
    return segments


def _stripped(key: str, heads: Sequence[str]) -> str:
    for head in heads:
        key = key.removeprefix(head) or key
    return key
