"""rename, copy, tie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body

__all__ = ["Rename", "CopyKeys", "TieKeys"]


@dataclass(frozen=True)
class Rename(NameDefaults):
    """rename."""

    name: ClassVar[str] = "rename"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class CopyKeys(NameDefaults):
    """copy."""

    name: ClassVar[str] = "copy"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class TieKeys(NameDefaults):
    """tie."""

    name: ClassVar[str] = "tie"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)
