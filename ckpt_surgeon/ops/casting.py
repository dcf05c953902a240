"""cast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["Cast"]


@dataclass(frozen=True)
class Cast(TensorDefaults):
    """cast."""

    name: ClassVar[str] = "cast"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    dtype: str
