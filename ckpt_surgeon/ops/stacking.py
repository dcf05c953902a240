"""stack, unstack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["Stack", "Unstack"]


@dataclass(frozen=True)
class Stack(TensorDefaults):
    """stack."""

    name: ClassVar[str] = "stack"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0


@dataclass(frozen=True)
class Unstack(TensorDefaults):
    """unstack."""

    name: ClassVar[str] = "unstack"
    arity: ClassVar[Arity] = "1->n"
    contract: ClassVar[Contract] = "exact"

    dim: int = 0
