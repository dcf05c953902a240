"""Nodes -> plain Python values, for entries which are no plain tensors: containers of numbers, texts, bytes and tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from ckpt_surgeon.errors import LimitError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Global, Node, Set
from ckpt_surgeon.formats.pickle_words import class_of, words
from ckpt_surgeon.formats.torch_containers import pairs_of, set_items

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
        is_frozen = node.frozen if type(node) is Set else class_of(node).endswith("frozenset")
        return (frozenset if is_frozen else set)(_hashable(convert(item)) for item in items)
    return _called(node, convert)


def _called(node: Node, convert: Load) -> Any:
    path = class_of(node)
    if type(node) is Call and node.state is ABSENT:
        if path == "collections.OrderedDict":
            return OrderedDict((_hashable(convert(key)), convert(value)) for key, value in pairs_of(node) or ())
        if path == "torch.Size" and len(node.arguments) == 1:
            return convert(node.arguments[0])
        if path == "_codecs.encode" and len(node.arguments) == 2:
            return _encoded(*node.arguments)
        if path in ("__builtin__.bytes", "builtins.bytes") and not node.arguments:
            return b""
    raise UnsafeError(f"a value of {node.path if type(node) is Global else words(node)}: only its class could rebuild it")


def _encoded(text: Node, encoding: Node) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise UnsafeError(f"bytes in the encoding {words(encoding)}: only Latin-1 is read")
    return str(text).encode("latin-1")


def _hashable(value: Any) -> Any:
    if isinstance(value, str | int | float | bytes | frozenset) or value is None:
        return value
    if isinstance(value, tuple) and all(isinstance(item, str | int | float) for item in value):
        return value
    raise UnsafeError(f"a key of the type {type(value).__name__}: numbers and texts are allowed")
