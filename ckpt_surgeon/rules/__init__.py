"""Rules as values, and what reads them. What needs the ops is loaded on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred
from ckpt_surgeon.rules.rule import Allow, Rule, Rules

if TYPE_CHECKING:
    from ckpt_surgeon.rules.finetune import Finetune, FreezeIndex, Head
    from ckpt_surgeon.rules.importing import rules_from_key_mapping, rules_from_revise_keys
    from ckpt_surgeon.rules.reader import as_rules, inline_rule, parse_rules, read_rules

__all__ = [
    "Allow",
    "Finetune",
    "FreezeIndex",
    "Head",
    "Rule",
    "Rules",
    "as_rules",
    "inline_rule",
    "parse_rules",
    "read_rules",
    "rules_from_key_mapping",
    "rules_from_revise_keys",
]

__getattr__ = deferred(
    __name__,
    {
        "Finetune": "finetune",
        "FreezeIndex": "finetune",
        "Head": "finetune",
        "as_rules": "reader",
        "inline_rule": "reader",
        "parse_rules": "reader",
        "read_rules": "reader",
        "rules_from_key_mapping": "importing",
        "rules_from_revise_keys": "importing",
    },
)
