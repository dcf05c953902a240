"""sub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body

__all__ = ["Sub"]


@dataclass(frozen=True)
class Sub(NameDefaults):
    """sub."""

    name: ClassVar[str] = "sub"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)
