"""Nodes -> plain Python values, for entries which are no plain tensors: containers of numbers, texts, bytes and tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from ckpt_surgeon.errors import LimitError, UnsafeError
from ckpt_surgeon.formats.pickle_names import FROZENSET, ORDERED_DICT, SIZE, called_by
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Node, Set
from ckpt_surgeon.formats.pickle_words import words
from ckpt_surgeon.formats.torch_containers import encoded_text, pairs_of, set_items

__all__ = ["value_of"]

_MAX_DEPTH: Final = 100
_PLAIN: Final = (bool, int, float, bytes)

Load = Callable[[Node], Any]


def value_of(node: Node, load: Load) -> Any:
    """The value of `node`; what it names twice is one value. `load` gives the tensor for a tensor's node, or None for any other node.

    Raises UnsafeError for what only its class could rebuild, LimitError for what nests deeper than 100 levels (or holds itself).
    """
    return _value(node, load, {}, 0)


def _value(node: Node, load: Load, known: dict[int, Any], depth: int) -> Any:
    if node is None or type(node) in _PLAIN:
        return node
    if isinstance(node, str):
        return str(node)
    if isinstance(node, bytearray):
        return bytearray(node)
    if depth > _MAX_DEPTH:
        raise LimitError(f"a value which nests deeper than {_MAX_DEPTH} levels, or holds itself")
    if id(node) not in known:
        tensor = load(node)
        known[id(node)] = _container(node, lambda inner: _value(inner, load, known, depth + 1)) if tensor is None else tensor
    return known[id(node)]


def _container(node: Node, convert: Load) -> Any:
    if isinstance(node, tuple | list):
        return type(node)(convert(item) for item in node)
    if type(node) is Dict:
        return {_hashable(convert(key)): convert(value) for key, value in node.pairs}
    items = set_items(node)
    if items is not None:
        is_frozen = node.frozen if type(node) is Set else called_by(node) == FROZENSET
        return (frozenset if is_frozen else set)(_hashable(convert(item)) for item in items)
    return _called(node, convert)


def _called(node: Node, convert: Load) -> Any:
    if type(node) is Call and node.state is ABSENT:
        pairs, encoded = pairs_of(node), encoded_text(node)
        if encoded is not None:
            return encoded.encode("latin-1")
        if called_by(node) == ORDERED_DICT and pairs is not None:
            return OrderedDict((_hashable(convert(key)), convert(value)) for key, value in pairs)
        if called_by(node) == SIZE and len(node.arguments) == 1:
            return convert(node.arguments[0])
    raise UnsafeError(f"a value of {words(node)}: only its class could rebuild it")


def _hashable(value: Any) -> Any:
    if isinstance(value, str | int | float | bytes | frozenset) or value is None:
        return value
    if isinstance(value, tuple) and all(isinstance(item, str | int | float) for item in value):
        return value
    raise UnsafeError(f"a key of the type {type(value).__name__}: numbers and texts are allowed")
