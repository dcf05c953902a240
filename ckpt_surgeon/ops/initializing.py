"""init."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["Init"]


@dataclass(frozen=True)
class Init(TensorDefaults):
    """init."""

    name: ClassVar[str] = "init"
    arity: ClassVar[Arity] = "0->1"
    contract: ClassVar[Contract] = "approximate"

    value: Literal["zeros", "ones", "model"]
    seed: int = 0
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
