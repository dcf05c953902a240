"""squeeze, unsqueeze, reshape, fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Body, Contract

__all__ = ["Squeeze", "Unsqueeze", "Reshape", "Fit"]


@dataclass(frozen=True)
class Squeeze(TensorDefaults):
    """squeeze."""

    name: ClassVar[str] = "squeeze"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    dims: int | tuple[int, ...] | None = None


@dataclass(frozen=True)
class Unsqueeze(TensorDefaults):
    """unsqueeze."""

    name: ClassVar[str] = "unsqueeze"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    dims: int | tuple[int, ...]


@dataclass(frozen=True)
class Reshape(TensorDefaults):
    """reshape."""

    name: ClassVar[str] = "reshape"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    shape: tuple[int, ...] | Literal["target"]


@dataclass(frozen=True)
class Fit(TensorDefaults):
    """fit."""

    name: ClassVar[str] = "fit"
    body: ClassVar[Body] = Body("match")
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"
