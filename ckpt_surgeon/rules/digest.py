"""A digest of values: the same for the same content, whatever the file was called and however it was laid out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template

__all__ = ["digest_of"]


def digest_of(*values: object) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of these values."""
    document = json.dumps([_plain(value) for value in values], ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(document.encode("ascii")).hexdigest()


def _plain(value: Any) -> Any:
    """Dataclasses by their fields, ops by name and parameters, patterns by their text, mappings as pairs: their order counts."""
    if isinstance(value, Pattern | Template):
        return value.text
    if hasattr(value, "parameters"):
        return {"op": value.name, "parameters": _plain(value.parameters())}
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
