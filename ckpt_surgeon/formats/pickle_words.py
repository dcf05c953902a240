"""Nodes in short words, for people: `12`, `'resnet50'`, `list of 3`, `argparse.Namespace`."""

from __future__ import annotations

from ckpt_surgeon.formats.pickle_names import BYTEARRAY, OLD_OBJECT, ORDERED_DICT, called_by, meant_by
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node, Persistent, Set
from ckpt_surgeon.formats.torch_containers import encoded_text, set_items

__all__ = ["class_of", "words"]

# A longer text or number says no more about what it is.
_MAX_LENGTH = 40


def words(node: Node) -> str:
    """The node in at most about 60 characters; a thing of an unknown class by its class."""
    if node is None or isinstance(node, bool | int | float | str):
        return _shortened(node)
    if isinstance(node, bytes | bytearray):
        return f"{len(node)} bytes"
    if isinstance(node, tuple | list):
        return f"{type(node).__name__} of {len(node)}"
    if type(node) is Dict:
        return f"dict of {len(node.pairs)}"
    if type(node) is Set:
        return f"set of {len(node.items)}"
    if type(node) is Persistent:
        return "storage"
    if type(node) is Global:
        return node.path
    return _call_words(node)


def _shortened(node: Node) -> str:
    if isinstance(node, int) and not isinstance(node, bool) and node.bit_length() > 4 * _MAX_LENGTH:
        return f"int of {node.bit_length()} bits"
    text = repr(str(node)[: _MAX_LENGTH + 1]) if isinstance(node, str) else repr(node)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."


def _call_words(node: Call) -> str:
    """Older protocols hold bytes and sets as calls; they are the same things."""
    encoded, items = encoded_text(node), set_items(node)
    if encoded is not None:
        return f"{len(encoded)} bytes"
    if items is not None:
        return f"set of {len(items)}"
    if called_by(node) == BYTEARRAY and len(node.arguments) < 2:
        return words(node.arguments[0] if node.arguments else b"")
    return f"dict of {len(node.pairs or ())}" if called_by(node) == ORDERED_DICT else class_of(node)


def class_of(node: Node) -> str:
    """The class or function which a call would call: `argparse.Namespace`; `?` where it is no plain name."""
    if type(node) is not Call:
        return "?"
    owner = node.arguments[0] if meant_by(node.function) == OLD_OBJECT and node.arguments else node.function
    return owner.path if type(owner) is Global else "?"
