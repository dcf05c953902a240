"""The parameters of ops, checked against the types of their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any, get_type_hints

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import NameOp, TensorOp
from ckpt_surgeon.ops.registry import OpType
from ckpt_surgeon.rules.describe import describe
from ckpt_surgeon.rules.document import Place
from ckpt_surgeon.rules.fitting import fitted, misfits
from ckpt_surgeon.rules.node import NOTHING, Node, shown
from ckpt_surgeon.rules.type_schemas import schema_of_type

__all__ = ["build", "parameters_schema", "refusal_of"]

_BLANK = 'Write "" to take it out.'


@cache  # as many as there are ops
def parameters_schema(op: OpType) -> dict[str, Any]:
    """The JSON Schema of an op's parameters as an object. Shared: not to be changed.

    Raises RulesError for an op of another package with a field whose type stands for no plain value.
    """
    kinds = _kinds(op)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for each in fields(op):  # type: ignore[arg-type]
        properties[each.name] = schema_of_type(kinds[each.name], f"{op.name}: {each.name}")
        if each.default is not MISSING:
            properties[each.name]["default"] = list(each.default) if isinstance(each.default, tuple) else each.default
        elif each.default_factory is MISSING:
            required.append(each.name)
    return {"type": "object", "properties": properties, "required": required}


def _kinds(op: OpType) -> dict[str, Any]:
    try:
        return get_type_hints(op)
    except NameError as error:
        hint = "Import it at run time, not only under TYPE_CHECKING."
        raise RulesError(f"{op.name}: the types of its fields cannot be told: {error}", hint=hint) from error


def build(op: OpType, parameters: Mapping[str, Node], entry: Node, *, is_complete: bool = True) -> NameOp | TensorOp | None:
    """The op with these parameters, or None after complaints, each at its parameter, or at `entry` where that is missing.

    Text is never taken for a number, nor a number for text. Missing parameters are told only if `is_complete`.
    An op's own RulesError passes through.
    """
    try:
        json.dumps({name: node.data for name, node in parameters.items()}, allow_nan=False)
    except (TypeError, ValueError) as error:
        entry.complain(f"{op.name}: no plain value: {error}")
        return None
    schema = parameters_schema(op)
    wrong = {name: places for name, node in parameters.items() if (places := misfits(node.data, schema["properties"][name]))}
    missing = [name for name in schema["required"] if name not in parameters]
    for name, wanted in schema["properties"].items():
        if name in wrong:
            _complain(op, name, parameters[name], wrong[name])
        elif name in missing and is_complete:
            entry.complain(f"{op.name} needs {name}: {describe(wanted)}", key=True)
    return None if wrong or missing else _made(op, parameters)


def refusal_of(op: OpType, parameters: Mapping[str, Node]) -> RulesError | None:
    """What the op itself says against parameters which are of the right types; None where they are not, or not all there."""
    schema = parameters_schema(op)
    if set(schema["required"]) - set(parameters) or any(
        misfits(node.data, schema["properties"][name]) for name, node in parameters.items()
    ):
        return None
    try:
        _made(op, parameters)
    except RulesError as error:
        return error
    return None


def _made(op: OpType, parameters: Mapping[str, Node]) -> NameOp | TensorOp:
    wanted = parameters_schema(op)["properties"]
    return op(**{name: fitted(node.data, wanted[name]) for name, node in parameters.items()})


def _complain(op: OpType, name: str, parameter: Node, places: list[Place]) -> None:
    """Complain of a parameter, once, at the innermost part of it which is wrong."""
    part = parameter
    for step in max(places, key=len):
        part = part.child(step)
    description = describe(parameters_schema(op)["properties"][name])
    within = f", found {shown(part.data)} in it" if part.place != parameter.place else ""
    hint = _hint(part.data, description)
    if part.data is None and part.place != parameter.place and _takes_blank(op, name, part):
        hint = f"{_BLANK} {hint}"
    part.complain(f"{op.name}: {name} is {shown(parameter.data)}{within}; allowed: {description}", hint)


def _takes_blank(op: OpType, name: str, part: Node) -> bool:
    """Whether an empty text may stand here, as in `replace: {net: ""}`."""
    key = part.place[-1]
    return isinstance(key, str) and refusal_of(op, {name: replace(part, data={key: ""})}) is None


def _hint(found: object, description: str) -> str:
    if "text" not in description or isinstance(found, list):
        return ""
    if found is None:
        return NOTHING
    return "" if isinstance(found, str) else "Quote it: YAML reads it as something else than text."
