"""The `finetune:` section of a rules file, applied to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.finetune.freezing import freeze
from ckpt_surgeon.finetune.groups import param_groups

if TYPE_CHECKING:
    from torch import nn

    from ckpt_surgeon.rules.rule import Finetune

__all__ = ["apply"]


def apply(model: nn.Module, section: Finetune, outcome: Outcome | None = None) -> list[dict[str, Any]]:
    """Freeze what the section says, then make its parameter groups (none where it gives no rates).

    Raises RulesError for what does not fit this model; see `freeze` and `param_groups`.
    """
    raise NotImplementedError
