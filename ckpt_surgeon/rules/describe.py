"""A JSON Schema of a value in plain words, for messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["describe"]

_KINDS = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false", "object": "a mapping"}
_MANY = {"integer": "whole numbers", "number": "numbers", "string": "texts"}


def describe(schema: Mapping[str, Any]) -> str:
    """What a schema allows.

    >>> describe({"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"const": "target"}, {"type": "null"}]})
    'a list of whole numbers or target'
    """
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe(one) for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return _described_list(schema)
    if schema.get("type") == "object" and "additionalProperties" in schema:
        values = schema["additionalProperties"]
        return f"a mapping to {_MANY.get(values.get('type', ''), 'values')}" if isinstance(values, Mapping) else "a mapping"
    return _KINDS.get(schema.get("type", ""), "another value")


def _described_list(schema: Mapping[str, Any]) -> str:
    parts = schema.get("prefixItems", [])
    if parts:
        kinds = {_MANY.get(part.get("type", ""), "values") for part in parts}
        return f"a list of {len(parts)} {kinds.pop() if len(kinds) == 1 else 'values'}"
    items = schema.get("items", {})
    members = {member.get("type", "") for member in items.get("anyOf", [items])} - {"null"}
    return f"a list of {_MANY.get(members.pop(), 'values')}" if len(members) == 1 else "a list"
