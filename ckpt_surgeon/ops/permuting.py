"""transpose, permute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["Transpose", "Permute"]


@dataclass(frozen=True)
class Transpose(TensorDefaults):
    """transpose."""

    name: ClassVar[str] = "transpose"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    dims: tuple[int, int] | None = None


@dataclass(frozen=True)
class Permute(TensorDefaults):
    """permute."""

    name: ClassVar[str] = "permute"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    dims: tuple[int, ...]
