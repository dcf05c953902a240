"""A plain value against a JSON Schema of the kind which `type_schemas` makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ckpt_surgeon.rules.document import Place

__all__ = ["fitted", "misfits"]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def misfits(value: Any, schema: Mapping[str, Any], place: Place = ()) -> list[Place]:
    """Where a value is not what its schema allows: at no place where it fits, for each member of a union where it fits none.

    >>> misfits([1, "2"], {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]})
    [(1,), ()]
    """
    if "anyOf" in schema:
        found = [misfits(value, one, place) for one in schema["anyOf"]]
        return [wrong for member in found for wrong in member] if all(found) else []
    if not _is_of_type(value, schema) or not _is_of_length(value, schema):
        return [place]
    return [wrong for part, item, wanted in _parts(value, schema) for wrong in misfits(item, wanted, (*place, part))]


def fitted(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value which fits, as ops hold it: lists as tuples, and as a float what may be any number.

    >>> fitted([1, None], {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}})
    (1, None)
    """
    if "anyOf" in schema:
        return fitted(value, next(one for one in schema["anyOf"] if not misfits(value, one)))
    if isinstance(value, list):
        return tuple(fitted(item, wanted) for _, item, wanted in _parts(value, schema))
    if isinstance(value, dict):
        return {key: fitted(item, wanted) for key, item, wanted in _parts(value, schema)}
    return float(value) if schema["type"] == "number" else value


def _is_of_type(value: Any, schema: Mapping[str, Any]) -> bool:
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if "const" in schema:
        return bool(value == schema["const"])
    return value in schema.get("enum", (value,))


def _is_of_length(value: Any, schema: Mapping[str, Any]) -> bool:
    return "prefixItems" not in schema or len(value) == len(schema["prefixItems"])


def _parts(value: Any, schema: Mapping[str, Any]) -> Iterable[tuple[str | int, Any, Mapping[str, Any]]]:
    """The items of a list or mapping, each with its index or key and its schema."""
    if isinstance(value, dict):
        return [(key, item, schema["additionalProperties"]) for key, item in value.items()]
    if isinstance(value, list):
        wanted = schema.get("prefixItems") or [schema["items"]] * len(value)
        return list(zip(range(len(value)), value, wanted, strict=True))
    return ()
