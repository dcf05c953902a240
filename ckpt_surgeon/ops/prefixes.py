"""strip_prefix, add_prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body

__all__ = ["StripPrefix", "AddPrefix"]


@dataclass(frozen=True)
class StripPrefix(NameDefaults):
    """strip_prefix."""

    name: ClassVar[str] = "strip_prefix"
    body: ClassVar[Body] = Body("prefixes")

    prefixes: str | tuple[str, ...]


@dataclass(frozen=True)
class AddPrefix(NameDefaults):
    """add_prefix."""

    name: ClassVar[str] = "add_prefix"
    body: ClassVar[Body] = Body("prefix")

    prefix: str
    match: str | tuple[str, ...] = "**"
