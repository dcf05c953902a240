"""align_names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import NameDefaults

__all__ = ["AlignNames"]


@dataclass(frozen=True)
class AlignNames(NameDefaults):
    """align_names."""

    name: ClassVar[str] = "align_names"
    needs_target: ClassVar[bool] = True

    prefixes: str | tuple[str, ...] = ()
    segments: str | tuple[str, ...] = ()
