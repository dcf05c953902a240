"""split, concat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["Split", "Concat"]


@dataclass(frozen=True)
class Split(TensorDefaults):
    """split."""

    name: ClassVar[str] = "split"
    arity: ClassVar[Arity] = "1->n"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0
    sizes: tuple[int, ...] | Literal["target"] | None = None
    parts: int | None = None


@dataclass(frozen=True)
class Concat(TensorDefaults):
    """concat."""

    name: ClassVar[str] = "concat"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0
