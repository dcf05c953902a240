"""Rules as values, and what reads them. What needs the ops is loaded on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.rules.rule import Allow, Finetune, FreezeIndex, Head, Rule, Rules

if TYPE_CHECKING:
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

_HOMES = {
    "as_rules": "reader",
    "inline_rule": "reader",
    "parse_rules": "reader",
    "read_rules": "reader",
    "rules_from_key_mapping": "importing",
    "rules_from_revise_keys": "importing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
