"""The JSON Schema of a rules file, for editors; made from the ops, so that it cannot differ from them."""

from __future__ import annotations

from typing import Any

from ckpt_surgeon.ops.registry import OPS, OpType
from ckpt_surgeon.rules.finetune_section import CLASSES
from ckpt_surgeon.rules.guards_section import BOUNDS
from ckpt_surgeon.rules.presets import PRESETS
from ckpt_surgeon.rules.sections import ALLOW, VERSION
from ckpt_surgeon.spec import DTYPES

__all__ = ["json_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PATTERN = {"type": "string", "minLength": 1}
_PATTERNS = {"anyOf": [_PATTERN, {"type": "array", "items": _PATTERN, "minItems": 1}]}
_PATTERNS_REF = {"$ref": "#/$defs/patterns"}
_SCALAR = {"type": ["string", "number", "boolean"]}
_COMMON = {
    "when": {"const": "mismatched", "description": "Only keys whose shape is not the target's."},
    "if": {"$ref": "#/$defs/condition"},
    "expect": {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "any"}], "description": "How many matches; at least one by default."},
    "why": {"type": "string"},
}


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a rules file, for the ops which are loaded."""
    return {
        "$schema": _DRAFT,
        "title": "Rules of ckpt-surgeon",
        **_closed(
            {
                "version": {"const": VERSION},
                "sources": _sources(),
                "presets": _presets(),
                "rules": _list_of_rules(),
                "allow": _allow(),
                "assert": _guards(),
                "finetune": _finetune(),
            },
            ["version"],
        ),
        "$defs": {
            "patterns": _PATTERNS,
            "condition": _condition(),
            **{f"op_{name}": _body(op) for name, op in OPS.items()},
        },
    }


def _closed(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or [], "additionalProperties": False}


def _sources() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1},
        "propertyNames": {"pattern": "^(?!re$)[A-Za-z_][A-Za-z0-9_]*$"},
        "description": "What rules call other checkpoints (`alias::pattern`) -> their paths, relative to this file.",
    }


def _presets() -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"enum": list(PRESETS)},
        "uniqueItems": True,
        "description": "Rules which are known by name; they run before the others.",
    }


def _list_of_rules() -> dict[str, Any]:
    """Exactly one op each: an object with one op's word is told from all others by that word."""
    words = {name: {"$ref": f"#/$defs/op_{name}"} for name in OPS}
    return {
        "type": "array",
        "items": {**_closed({**words, **_COMMON}), "oneOf": [{"required": [name]} for name in OPS]},
    }


def _condition() -> dict[str, Any]:
    negated = _closed({"not": {"$ref": "#/$defs/condition"}}, ["not"])
    equal = {"type": "object", "minProperties": 1, "properties": {"not": False}, "additionalProperties": _SCALAR}
    return {"anyOf": [{"type": "string", "minLength": 1}, negated, equal]}


def _allow() -> dict[str, Any]:
    return _closed(dict.fromkeys(ALLOW, _PATTERNS_REF))


def _guards() -> dict[str, Any]:
    """Exactly one guard each, as of the list of rules."""
    share, number = {"type": "number", "minimum": 0, "maximum": 1}, {"type": "integer", "minimum": 0}
    dtype = {"enum": list(DTYPES)}
    kinds: dict[str, dict[str, Any]] = {
        "count": {"match": _PATTERNS_REF, **dict.fromkeys(BOUNDS, number)},
        "shape": {"match": _PATTERNS_REF, "is": {"type": "array", "items": {"type": ["integer", "null"], "minimum": 0}}},
        "dtype": {"match": _PATTERNS_REF, "is": {"anyOf": [dtype, {"type": "array", "items": dtype, "minItems": 1}]}},
        "coverage": {"match": _PATTERNS_REF, "at_least": share},
        "equal": {"source": {"type": "array", "items": _PATTERN, "minItems": 2}},
        "finite": {"match": _PATTERNS_REF},
    }
    bodies = {name: _closed(words, [word for word in words if word not in BOUNDS or name == "coverage"]) for name, words in kinds.items()}
    bodies["count"]["anyOf"] = [{"required": [bound]} for bound in BOUNDS]
    return {
        "type": "array",
        "items": {**_closed({**bodies, "why": {"type": "string"}}), "oneOf": [{"required": [name]} for name in bodies]},
        "description": "What has to be true of the result; else nothing is written or loaded.",
    }


def _finetune() -> dict[str, Any]:
    index = _closed({"space": {"enum": ["parameters", "state_dict"]}, "below": {"type": "integer", "minimum": 0}}, ["space", "below"])
    head = _closed({"module": {"type": "string"}, "classes": {"type": "integer", "minimum": 0}}, ["module", "classes"])
    rates = {
        "type": "object",
        "additionalProperties": {"type": "number", "minimum": 0},
        "description": f"A class ({', '.join(CLASSES)}) or a pattern -> learning rate.",
    }
    return _closed({"freeze": _PATTERNS_REF, "freeze_index": index, "bn_eval": {"type": "boolean"}, "lr": rates, "head": head})


def _body(op: OpType) -> dict[str, Any]:
    """What may stand under an op's word."""
    from ckpt_surgeon.rules.schema import parameters_schema

    schema = parameters_schema(op)
    parameters = {name: part for name, part in schema["properties"].items() if name not in op.body.filled}
    described = {"description": (op.__doc__ or "").partition("\n")[0]}
    if op.body.only:
        return {**described, **parameters[op.body.whole]}
    forms = _forms(op, parameters, schema["required"])
    if op.body.whole:
        forms.append(_PATTERNS_REF if op.body.whole not in parameters else _not_an_object(parameters[op.body.whole]))
    return {**described, **forms[0]} if len(forms) == 1 else {**described, "anyOf": forms}


def _forms(op: OpType, parameters: dict[str, Any], required: list[str]) -> list[dict[str, Any]]:
    """A body as a mapping: of parameters, and for a tensor op with `match`, or `source` and `target`."""
    arity = getattr(op, "arity", None)
    if arity is None:
        return [_closed(parameters, required)]
    forms = [_closed({"match": _PATTERNS_REF, **parameters}, ["match", *required])] if arity in ("1->1", "0->1") else []
    if arity != "0->1":
        roles = op.body.roles
        places = {"source": _place(roles.sources, roles.required), "target": _place(roles.targets, roles.targets)}
        forms.append(_closed({**places, **parameters}, ["source", "target", *required]))
    return forms


def _place(roles: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
    """`source` or `target`: patterns, or a pattern for each role."""
    if not roles:
        return _PATTERNS_REF
    return {"anyOf": [_PATTERNS_REF, _closed(dict.fromkeys(roles, _PATTERN), list(required))]}


def _not_an_object(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "not": {"type": "object"}}
