"""adapt_in_channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract

__all__ = ["AdaptInChannels"]


@dataclass(frozen=True)
class AdaptInChannels(TensorDefaults):
    """adapt_in_channels."""

    name: ClassVar[str] = "adapt_in_channels"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    mode: Literal["mean", "repeat", "sum", "zero", "select"]
    in_channels: int | Literal["target"] | None = None
    channels: tuple[int | None, ...] | None = None
    rescale: Literal["none", "sum_preserving"] | None = None
    dim: int = 1
    groups: int = 1
