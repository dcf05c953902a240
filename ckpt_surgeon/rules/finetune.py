"""Finetune: what the `finetune:` section of a rules file says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["Finetune", "FreezeIndex", "Head"]


@dataclass(frozen=True, slots=True)
class FreezeIndex:
    """The first `below` entries of a space: of `model.parameters()`, or of `model.state_dict()`, which counts buffers too."""

    space: Literal["parameters", "state_dict"]
    below: int


@dataclass(frozen=True, slots=True)
class Head:
    """The last layer, by its module's name, and how many classes it is to have."""

    module: str
    classes: int


@dataclass(frozen=True, slots=True)
class Finetune:
    """The `finetune:` section. lr: class (`exact`, `renamed`, `adapted`, `new` ...) or pattern -> learning rate, in order."""

    freeze: tuple[Pattern, ...] = ()
    freeze_index: FreezeIndex | None = None
    bn_eval: bool = True
    lr: Mapping[str, float] = field(default_factory=dict)
    head: Head | None = None
