"""The parameters of ops, checked by pydantic; the one place which imports it, and itself imported on use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ckpt_surgeon.ops.protocol import NameOp, TensorOp
from ckpt_surgeon.ops.registry import OpType
from ckpt_surgeon.rules.describe import describe
from ckpt_surgeon.rules.node import Node, shown

__all__ = ["build", "parameters_schema"]


@cache  # as many as there are ops
def _adapter(op: OpType) -> TypeAdapter[Any]:
    return TypeAdapter(op)


@cache  # as many as there are ops
def parameters_schema(op: OpType) -> dict[str, Any]:
    """The JSON Schema of an op's parameters as an object. Shared: not to be changed."""
    return _adapter(op).json_schema()


def build(op: OpType, parameters: Mapping[str, Any], places: Mapping[str, Node], entry: Node) -> NameOp | TensorOp | None:
    """The op with these parameters, or None after complaints at `places` (parameter -> its node) and at `entry`.

    Strict: text is never taken for a number, nor a number for text. An op's own RulesError passes through.
    """
    try:
        document = json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        entry.complain(f"{op.name}: no plain value: {error}")
        return None
    try:
        made: NameOp | TensorOp = _adapter(op).validate_json(document, strict=True)
    except ValidationError as error:
        _complain(op, error, places, entry)
        return None
    return made


def _complain(op: OpType, error: ValidationError, places: Mapping[str, Node], entry: Node) -> None:
    """One complaint for each parameter which is wrong: a union gives one error for each of its members."""
    wanted = parameters_schema(op).get("properties", {})
    told: set[str] = set()
    for detail in error.errors(include_url=False, include_context=False):
        parameter = str(detail["loc"][0]) if detail["loc"] else ""
        if parameter in told:
            continue
        told.add(parameter)
        description = describe(wanted.get(parameter, {}))
        if parameter not in places:
            needs = f"needs {parameter}: {description}" if parameter in wanted else detail["msg"]
            entry.complain(f"{op.name} {needs}", key=True)
            continue
        node = _deepest(places[parameter], detail["loc"][1:])
        here = places[parameter].data if node is places[parameter] else node.data
        part = "" if node is places[parameter] else f", found {shown(here)} in it"
        subject = f"{op.name}: {parameter} is {shown(places[parameter].data)}{part}"
        node.complain(f"{subject}; allowed: {description}", _hint(here, description))


def _deepest(node: Node, location: tuple[int | str, ...]) -> Node:
    """The part which a location leads to. A location also names members of unions, which are no parts."""
    for part in location:
        inside_list = isinstance(node.data, list) and isinstance(part, int) and part < len(node.data)
        inside_mapping = isinstance(node.data, dict) and part in node.data
        if inside_list or inside_mapping:
            node = node.child(part)
    return node


def _hint(found: object, description: str) -> str:
    if "text" not in description or isinstance(found, list):
        return ""
    return "Quote it: YAML reads it as something else than text." if found is not None and not isinstance(found, str) else ""
