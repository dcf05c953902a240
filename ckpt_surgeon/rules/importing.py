"""Other tools' tables of regular expressions -> rules, with the meaning which those tools give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.rules.rule import Rules

__all__ = ["rules_from_key_mapping", "rules_from_revise_keys"]


def rules_from_key_mapping(mapping: Mapping[str, str]) -> Rules:
    r"""The rules of transformers' `key_mapping` (or a model's `_checkpoint_conversion_mapping`).

    For each key the expressions are tried in order; the first which replaces something, everywhere in the key, is the last one tried.
    So all pairs are one `sub` rule.

    Raises RulesError for what is no regular expression.
    Source: transformers 4.5x, `PreTrainedModel._get_key_renaming_mapping`.

    >>> len(rules_from_key_mapping({r"^model\.": "model.language_model."}).rules)
    1
    """
    if not isinstance(mapping, Mapping):
        raise RulesError(f"a key_mapping is a table of expression -> replacement, found {type(mapping).__name__}")
    pairs = dict(mapping)
    return as_rules([{"sub": pairs, "expect": "any"}]) if pairs else Rules()


def rules_from_revise_keys(pairs: Iterable[tuple[str, str]]) -> Rules:
    r"""The rules of mmengine's `revise_keys`: every pair, in order, is `re.sub` over all keys; so each is a `sub` rule of its own.

    Raises RulesError for what is no pair, and for what is no regular expression.
    Source: mmengine 0.10, `mmengine.runner.checkpoint._load_checkpoint_to_model`.

    >>> len(rules_from_revise_keys([(r"^module\.", ""), (r"^backbone\.", "")]).rules)
    2
    """
    listed = [tuple(pair) for pair in pairs]
    for at, pair in enumerate(listed):
        if len(pair) != 2:
            raise RulesError(f"no pair of a regular expression and its replacement: {pair!r}", where=f"rules[{at}]")
    return as_rules([{"sub": {expression: replacement}, "expect": "any"} for expression, replacement in listed])
