"""Rules -> the document and the YAML text which the reader reads back to equal Rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.rules.condition import Condition, Not, Truthy
from ckpt_surgeon.rules.sections import ALLOW, VERSION
from ckpt_surgeon.rules.yaml_writer import write_yaml

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern
    from ckpt_surgeon.keys.template import Template
    from ckpt_surgeon.rules.finetune import Finetune
    from ckpt_surgeon.rules.rule import Allow, Rule, Rules

__all__ = ["document_of", "document_text", "text_of"]


_HEAD = f"version: {VERSION}\nrules:\n"  # before comments which stand before the first rule


def text_of(rules: Rules) -> str:
    """The rules as a YAML text; `parse_rules` makes equal Rules of it.

    >>> from ckpt_surgeon.rules.reader import as_rules
    >>> print(text_of(as_rules([{"strip_prefix": "module."}, {"drop": ["fc.**", "aux.**"]}])), end="")
    version: 1
    rules:
      - strip_prefix: module.
      - drop: ["fc.**", "aux.**"]
    """
    return write_yaml(document_of(rules))


def document_text(document: Mapping[str, Any], comments: Sequence[str] = (), last: Sequence[Mapping[str, Any]] = ()) -> str:
    """A document as a YAML text: its rules, these lines, then the last rules, and the other sections."""
    sections = {word: part for word, part in document.items() if word not in ("version", "rules")}
    rules = write_yaml({"version": VERSION, "rules": document["rules"]}) if document["rules"] or not last else _HEAD
    ending = write_yaml({"rules": list(last)}).partition("\n")[2] if last else ""
    return rules + "".join(f"{line}\n" for line in comments) + ending + (write_yaml(sections) if sections else "")


def document_of(rules: Rules) -> dict[str, Any]:
    """The rules as plain data, as a file would hold them; what is as it is by default is left out."""
    document: dict[str, Any] = {"version": VERSION, "rules": [_entry(rule) for rule in rules.rules]}
    allow = dict(_allowed(rules.allow))
    if allow:
        document["allow"] = allow
    if rules.finetune is not None:
        document["finetune"] = _finetune(rules.finetune)
    return document


def _allowed(allow: Allow) -> Iterator[tuple[str, Any]]:
    for name in ALLOW:
        patterns: tuple[Pattern, ...] = getattr(allow, name)
        if patterns:
            yield name, _texts(patterns)


def _entry(rule: Rule) -> dict[str, Any]:
    """A rule: its op, and what stands beside it."""
    entry: dict[str, Any] = {rule.op.name: _body(rule)}
    if rule.when is not None:
        entry["when"] = rule.when
    if rule.condition is not None:
        entry["if"] = _condition(rule.condition)
    if rule.expect is not None:
        entry["expect"] = rule.expect
    return entry | ({"why": rule.why} if rule.why else {})


def _body(rule: Rule) -> Any:
    op = rule.op
    parameters = dict(_parameters(op))
    places = _places(rule) if isinstance(op, TensorOp) else {}
    body = places | parameters
    whole = op.body.whole
    is_whole = set(body) == {whole} and (op.body.only or not isinstance(body[whole], dict))
    if is_whole and (op.body.only or whole != "match" or isinstance(body[whole], str)):
        return body[whole]
    return body


def _parameters(op: Any) -> Iterator[tuple[str, Any]]:
    """The parameters which a rule gives: those which `bind` or the reader fills are none, and defaults need not be said."""
    plain = op.parameters()
    for each in fields(op):
        value = getattr(op, each.name)
        if each.name in op.body.filled or each.name not in plain:
            continue
        value = value[0] if _is_short(op, each.name, value) else value
        if each.default is MISSING or value != each.default:
            yield each.name, value if isinstance(value, str) else plain[each.name]


def _is_short(op: Any, name: str, value: object) -> bool:
    """Whether a list of one text means the same as the text."""
    if not isinstance(value, tuple) or len(value) != 1 or not isinstance(value[0], str) or name in op.body.files:
        return False
    try:
        return bool(replace(op, **{name: value[0]}) == op)
    except RulesError:
        return False


def _places(rule: Rule) -> dict[str, Any]:
    """On which keys a tensor op works."""
    if not rule.targets:
        return {"match": _texts(rule.sources)}
    roles: tuple[str, ...] | None = getattr(rule.op, "inputs", None)
    sources = dict(zip(roles, (each.text for each in rule.sources), strict=True)) if roles else _texts(rule.sources)
    return {"source": sources, "target": _texts(rule.targets)}


def _texts(parts: Sequence[Pattern | Template]) -> str | list[str]:
    return parts[0].text if len(parts) == 1 else [each.text for each in parts]


def _condition(condition: Condition) -> Any:
    if isinstance(condition, Truthy):
        return condition.name
    return {"not": _condition(condition.condition)} if isinstance(condition, Not) else dict(condition.pairs)


def _finetune(section: Finetune) -> dict[str, Any]:
    found: dict[str, Any] = {"freeze": _texts(section.freeze)} if section.freeze else {}
    if section.freeze_index is not None:
        found["freeze_index"] = {"space": section.freeze_index.space, "below": section.freeze_index.below}
    if not section.bn_eval:
        found["bn_eval"] = False
    if section.lr:
        found["lr"] = dict(section.lr)
    if section.head is not None:
        found["head"] = {"module": section.head.module, "classes": section.head.classes}
    return found
