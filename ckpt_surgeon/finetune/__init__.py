"""An Outcome, or names, turned into freezing, parameter groups and new heads."""

from ckpt_surgeon.finetune.freezing import freeze, unfreeze
from ckpt_surgeon.finetune.groups import param_groups
from ckpt_surgeon.finetune.heads import replace_head
from ckpt_surgeon.finetune.section import apply, prepare

__all__ = ["apply", "freeze", "param_groups", "prepare", "replace_head", "unfreeze"]
