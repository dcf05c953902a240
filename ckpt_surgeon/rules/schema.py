"""The parameters of ops, checked by pydantic; the one place which imports it, and itself imported on use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import NameOp, TensorOp
from ckpt_surgeon.ops.registry import OpType
from ckpt_surgeon.rules.describe import describe
from ckpt_surgeon.rules.node import NOTHING, Node, shown

__all__ = ["build", "parameters_schema", "refusal_of"]

_BLANK = 'Write "" to take it out.'


@cache  # as many as there are ops
def _adapter(op: OpType) -> TypeAdapter[Any]:
    return TypeAdapter(op)


@cache  # as many as there are ops
def parameters_schema(op: OpType) -> dict[str, Any]:
    """The JSON Schema of an op's parameters as an object. Shared: not to be changed."""
    return _adapter(op).json_schema()


def build(op: OpType, parameters: Mapping[str, Node], entry: Node, *, is_complete: bool = True) -> NameOp | TensorOp | None:
    """The op with these parameters, or None after complaints, each at its parameter, or at `entry` where that is missing.

    Strict: text is never taken for a number, nor a number for text. Missing parameters are told only if `is_complete`.
    An op's own RulesError passes through.
    """
    try:
        document = json.dumps({name: node.data for name, node in parameters.items()}, allow_nan=False)
    except (TypeError, ValueError) as error:
        entry.complain(f"{op.name}: no plain value: {error}")
        return None
    try:
        made: NameOp | TensorOp = _adapter(op).validate_json(document, strict=True)
    except ValidationError as error:
        _complain(op, error, parameters, entry, is_complete=is_complete)
        return None
    return made


def refusal_of(op: OpType, parameters: Mapping[str, Node]) -> RulesError | None:
    """What the op itself says against parameters, which are of the right types."""
    try:
        _adapter(op).validate_python({name: node.data for name, node in parameters.items()})
    except RulesError as error:
        return error
    except ValidationError:
        return None
    return None


def _complain(op: OpType, error: ValidationError, parameters: Mapping[str, Node], entry: Node, *, is_complete: bool) -> None:
    """One complaint for each parameter which is wrong: a union gives one error for each of its members."""
    wanted = parameters_schema(op).get("properties", {})
    wrong: dict[str, list[tuple[int | str, ...]]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        wrong.setdefault(str(next(iter(detail["loc"]), "")), []).append(detail["loc"][1:])
    for name, locations in wrong.items():
        description = describe(wanted.get(name, {}))
        if name in parameters:
            _complain_of(op, name, parameters[name], locations, description)
        elif name not in wanted:
            entry.complain(f"{op.name} cannot be read: {error.errors()[0]['msg']}", key=True)
        elif is_complete:
            entry.complain(f"{op.name} needs {name}: {description}", key=True)


def _complain_of(op: OpType, name: str, parameter: Node, locations: list[tuple[int | str, ...]], description: str) -> None:
    """Complain of a parameter, at the innermost part of it which is wrong."""
    part = max((_deepest(parameter, location) for location in locations), key=lambda node: len(node.place))
    within = f", found {shown(part.data)} in it" if part.place != parameter.place else ""
    hint = _hint(part.data, description)
    if part.data is None and part.place != parameter.place and _takes_blank(op, name, part):
        hint = f"{_BLANK} {hint}"
    part.complain(f"{op.name}: {name} is {shown(parameter.data)}{within}; allowed: {description}", hint)


def _takes_blank(op: OpType, name: str, part: Node) -> bool:
    """Whether an empty text may stand here, as in `replace: {net: ""}`."""
    key = part.place[-1]
    return isinstance(key, str) and refusal_of(op, {name: replace(part, data={key: ""})}) is None


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
    if found is None:
        return NOTHING
    return "" if isinstance(found, str) else "Quote it: YAML reads it as something else than text."
