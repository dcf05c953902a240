"""Nodes -> plain Python values, for entries which are no plain tensors: containers of numbers, texts, bytes and tensors."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final

from ckpt_surgeon.errors import LimitError, UnsafeError
from ckpt_surgeon.formats.pickle_names import BYTEARRAY, FROZENSET, ORDERED_DICT, SIZE, called_by
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Node, Pair, Set
from ckpt_surgeon.formats.pickle_words import words
from ckpt_surgeon.formats.torch_containers import encoded_text, pairs_of, set_items

__all__ = ["value_of"]

_MAX_DEPTH: Final = 100
# Honest keys differ in their hashes, but for a few like -1 and -2.
_MAX_SAME_HASH: Final = 100
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
        return _mapped(node.pairs, convert)
    items = set_items(node)
    if items is not None:
        is_frozen = node.frozen if type(node) is Set else called_by(node) == FROZENSET
        return (frozenset if is_frozen else set)(_hashable([convert(item) for item in items]))
    return _called(node, convert)


def _called(node: Node, convert: Load) -> Any:
    if type(node) is Call and node.state is ABSENT:
        pairs, encoded = pairs_of(node), encoded_text(node)
        if encoded is not None:
            return encoded.encode("latin-1")
        if called_by(node) == ORDERED_DICT and pairs is not None:
            return OrderedDict(_mapped(pairs, convert))
        if called_by(node) == BYTEARRAY:
            return _bytearray([convert(argument) for argument in node.arguments])
        if called_by(node) == SIZE and len(node.arguments) == 1:
            return convert(node.arguments[0])
    raise UnsafeError(f"a value of {words(node)}: only its class could rebuild it")


def _bytearray(arguments: list[Any]) -> bytearray:
    if any(type(argument) is not bytes for argument in arguments):
        raise UnsafeError("a bytearray of something which is no bytes")
    return bytearray(b"".join(arguments))


def _mapped(pairs: list[Pair], convert: Load) -> dict[Any, Any]:
    keys = _hashable([convert(key) for key, _ in pairs])
    return dict(zip(keys, (convert(value) for _, value in pairs), strict=True))


def _hashable(values: list[Any]) -> list[Any]:
    """The values, once they may be keys.

    Raises UnsafeError for other types than numbers and texts, LimitError for very many of one hash: each of them would be
    compared with all the others.
    """
    for value in values:
        parts = value if isinstance(value, tuple) else (value,)
        if not all(part is None or isinstance(part, str | int | float | bytes | frozenset) for part in parts):
            raise UnsafeError(f"a key of the type {type(value).__name__}: numbers and texts are allowed")
    if max(Counter(map(hash, values)).values(), default=0) > _MAX_SAME_HASH:
        raise LimitError(f"more than {_MAX_SAME_HASH:,} keys of one hash: they were chosen to take long")
    return values
