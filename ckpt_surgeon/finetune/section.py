"""The `finetune:` section of a rules file, applied to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.finetune.freezing import freeze
from ckpt_surgeon.finetune.groups import param_groups
from ckpt_surgeon.finetune.heads import outputs_of, replace_head

if TYPE_CHECKING:
    from torch import nn

    from ckpt_surgeon.rules.finetune import Finetune

__all__ = ["apply", "prepare"]


def prepare(model: nn.Module, section: Finetune, *, seed: int | None = None) -> nn.Module:
    """Before `load`: give the model the head which the section asks for, unless it has it already; returns the model.

    Raises RulesError and ModelError; see `replace_head`.
    """
    head = section.head
    if head is not None and outputs_of(model, head.module) != head.classes:
        replace_head(model, head.module, head.classes, seed=seed)
    return model


def apply(model: nn.Module, section: Finetune, outcome: Outcome | None = None) -> list[dict[str, Any]]:
    """After `load`: freeze what the section says, and make its parameter groups (none where it gives no rates).

    In the section's `lr`, `default` is the rate of all parameters which no class and no pattern gives one.
    Raises RulesError for what does not fit this model, or a head which `prepare` has not replaced yet; see `freeze` and
    `param_groups`.
    """
    head = section.head
    if head is not None and (found := outputs_of(model, head.module)) != head.classes:
        hint = "call finetune.prepare(model, section) before load()"
        raise RulesError(f"the head {head.module!r} has {found} outputs, the rules say {head.classes}", hint=hint)
    index = section.freeze_index
    freeze(
        model,
        [pattern.text for pattern in section.freeze],
        below=None if index is None else index.below,
        space=None if index is None else index.space,
        bn_eval=section.bn_eval,
    )
    return param_groups(model, outcome, section.lr) if section.lr else []
