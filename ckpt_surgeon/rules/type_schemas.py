"""The type of an op's field -> the JSON Schema of what a rule may give for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ckpt_surgeon.errors import RulesError

__all__ = ["schema_of_type"]

_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}
_HINT = "A field of an op is int, float, str, bool, None, a Literal of texts, tuple[...], Mapping[str, ...], or a union of them."


def schema_of_type(kind: Any, what: str) -> dict[str, Any]:
    """A schema of `type`, `const`, `enum`, `anyOf`, `items`, `prefixItems` and `additionalProperties`.

    >>> schema_of_type(tuple[int, ...] | Literal["target"], "split: sizes")
    {'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'const': 'target', 'type': 'string'}]}

    Raises RulesError for any other type; `what` names op and field.
    """
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of_type(part, what) for part in parts]}
    if origin is Literal and all(isinstance(part, str) for part in parts):
        return {**({"const": parts[0]} if len(parts) == 1 else {"enum": list(parts)}), "type": "string"}
    if origin is tuple and ... not in parts:
        items = [schema_of_type(part, what) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": schema_of_type(parts[0], what)}
    if origin in (dict, Mapping) and parts[0] is str:
        return {"type": "object", "additionalProperties": schema_of_type(parts[1], what)}
    raise RulesError(f"{what} has the type {kind}, which no rules file can give", hint=_HINT)
