"""Nodes as the containers which a checkpoint is built of: mappings, objects with attributes, modules, optimizers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from ckpt_surgeon.formats.pickle_names import BYTES, DEFAULT_DICT, ENCODED, FROZENSET, OLD_OBJECT, ORDERED_DICT, SET, called_by, meant_by
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Node, Pair, Set, lookup

__all__ = [
    "Child",
    "children_of",
    "encoded_text",
    "is_module",
    "is_optimizer",
    "key_text",
    "pairs_of",
    "set_items",
    "state_pairs",
    "with_pairs",
]

_MODULE_PARTS: Final = ("_parameters", "_buffers", "_modules")
_OPTIMIZER_PARTS: Final = ("state", "param_groups")
# What an empty key is called; an empty path is that of the root.
_NO_NAME: Final = "''"


class Child(NamedTuple):
    """An element of a container: its name there (a key, an index, an attribute) and the node which holds it."""

    name: str
    node: Node
    holder: Node


def key_text(key: Node) -> str | None:
    """A mapping's key as a string (bytes, from Python 2, as Latin-1); None for any other key."""
    if isinstance(key, str):
        return str(key)
    return key.decode("latin-1") if isinstance(key, bytes) else encoded_text(key)


def encoded_text(node: Node) -> str | None:
    """The bytes which protocol 2 holds as a call, as Latin-1; None for anything else."""
    called = called_by(node)
    if called == BYTES and not node.arguments:
        return ""
    if called != ENCODED or len(node.arguments) != 2:
        return None
    text, encoding = node.arguments
    is_plain = isinstance(text, str) and isinstance(encoding, str) and encoding in ("latin1", "latin-1") and all(c < "\u0100" for c in text)
    return str(text) if is_plain else None


def pairs_of(node: Node) -> list[Pair] | None:
    """The pairs of a dict, or of an object of any class which is filled like one; None for what is no mapping.

    An OrderedDict of Python 2 has its pairs as its argument: `OrderedDict([[key, value], ...])`. What any other function
    makes of its arguments is not known, so what is set in its result is not all which that holds.
    """
    if type(node) is Dict:
        return node.pairs
    if type(node) is not Call:
        return None
    called = called_by(node)
    if called == ORDERED_DICT:
        listed = _listed_pairs(node.arguments)
        return None if listed is None else [*listed, *(node.pairs or ())]
    is_made_empty = node.kind != "reduce" or not node.arguments or called == DEFAULT_DICT or meant_by(node.function) == OLD_OBJECT
    return node.pairs if is_made_empty else None


def with_pairs(mapping: Node, pairs: list[Pair]) -> Node:
    """The same mapping with other pairs. Those of an OrderedDict of Python 2 are its argument, which goes."""
    if type(mapping) is Dict:
        return Dict(pairs)
    return replace(mapping, arguments=() if called_by(mapping) == ORDERED_DICT else mapping.arguments, pairs=pairs or None)


def _listed_pairs(arguments: Node) -> list[Pair] | None:
    """The pairs in the arguments of an OrderedDict; None where it cannot be said."""
    given = arguments[0] if len(arguments) == 1 else None
    if not arguments or type(given) is Dict:
        return given.pairs if type(given) is Dict else []
    if type(given) is not list or any(not isinstance(pair, list | tuple) or len(pair) != 2 for pair in given):
        return None
    return [(pair[0], pair[1]) for pair in given]


def state_pairs(node: Node) -> list[Pair]:
    """The attributes of an object, as far as its state is a dict (or a dict and slots)."""
    state = node.state if type(node) is Call else ABSENT
    if type(state) is tuple and len(state) == 2:
        return [pair for part in state if type(part) is Dict for pair in part.pairs]
    return state.pairs if type(state) is Dict else []


def children_of(node: Node) -> list[Child]:
    """The containers and objects right inside a container or object, in file order; numbers and texts are left out."""
    return [Child(name or _NO_NAME, child, holder) for name, child, holder in _elements(node) if name is not None and type(child) in _INNER]


def _elements(node: Node) -> Iterator[tuple[str | None, Node, Node]]:
    """Name, value and holder of all elements or attributes."""
    pairs = pairs_of(node)
    if pairs is not None:
        yield from ((_name(key), value, node) for key, value in pairs)
        return
    items = node if isinstance(node, list | tuple) else node.items if type(node) is Call else None
    if items:
        yield from ((str(index), item, node) for index, item in enumerate(items))
    if type(node) is Call:
        states = node.state if type(node.state) is tuple else (node.state,)
        yield from ((_name(key), value, state) for state in states if type(state) is Dict for key, value in state.pairs)


_INNER: Final = frozenset({Call, Dict, list, tuple})


def _name(key: Node) -> str | None:
    return str(key) if type(key) is int else key_text(key)


def is_module(node: Node) -> bool:
    """Whether it is a pickled nn.Module: an object whose state holds parameters, buffers and modules."""
    pairs = state_pairs(node)
    return bool(pairs) and all(pairs_of(lookup(pairs, part)) is not None for part in _MODULE_PARTS)


def is_optimizer(node: Node) -> bool:
    """Whether it is the state of an optimizer (exactly `state` and `param_groups`), or a pickled optimizer."""
    pairs = pairs_of(node)
    if pairs is not None:
        return len(pairs) == len(_OPTIMIZER_PARTS) and all(lookup(pairs, part) is not ABSENT for part in _OPTIMIZER_PARTS)
    pairs = state_pairs(node)
    return all(lookup(pairs, part) is not ABSENT for part in (*_OPTIMIZER_PARTS, "defaults"))


def set_items(node: Node) -> list[Node] | None:
    """The items of a set, in whichever way its protocol wrote it; None for anything else."""
    if type(node) is Set:
        return node.items
    is_called = called_by(node) in (SET, FROZENSET) and len(node.arguments) == 1
    return node.arguments[0] if is_called and type(node.arguments[0]) is list else None
