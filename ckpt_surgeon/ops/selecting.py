"""drop, keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body

__all__ = ["DropKeys", "KeepKeys"]


@dataclass(frozen=True)
class DropKeys(NameDefaults):
    """drop."""

    name: ClassVar[str] = "drop"
    body: ClassVar[Body] = Body("patterns", only=True)

    patterns: str | tuple[str, ...]


@dataclass(frozen=True)
class KeepKeys(NameDefaults):
    """keep."""

    name: ClassVar[str] = "keep"
    body: ClassVar[Body] = Body("patterns", only=True)

    patterns: str | tuple[str, ...]
