"""The envelope around the weights: which tables of tensors a torch file holds, which one is meant, what stands beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field
from math import isfinite
from typing import Final

from ckpt_surgeon.errors import CorruptError, RulesError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Node
from ckpt_surgeon.formats.pickle_words import class_of, words
from ckpt_surgeon.formats.torch_containers import Child, children_of, is_module, is_optimizer, key_text, pairs_of, state_pairs
from ckpt_surgeon.formats.torch_table import Table, TensorOf, table_of
from ckpt_surgeon.formats.torch_tensors import TensorNode
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Envelope

__all__ = ["Contents", "choose_table", "envelope_of", "find_tables"]

# A table under one of these names makes what holds it an envelope, whatever tensors (a mean, a random state) stand beside it.
_MAIN_NAMES: Final = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "module", "params", "weights")
_AVERAGE_NAMES: Final = ("ema", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "module_ema", "params_ema")
_KNOWN_NAMES: Final = frozenset((*_MAIN_NAMES, *_AVERAGE_NAMES))
# Envelopes are a few levels deep; the search stops here, and Python's own limit on calls is far.
_MAX_DEPTH: Final = 64
# A path is made anew for each container below it.
_MAX_PATH_LENGTH: Final = 4096
# A text which is kept as metadata; what is longer is shared by name in a pickle, and would be said anew for each name.
_MAX_SCALAR_LENGTH: Final = 64 * 1024
_MAX_SCALAR_BITS: Final = 1024
_LISTED: Final = 8


@dataclass(slots=True)
class Contents:
    """What the search found: the tables, the optimizers with their places, and what a function was filled with (place: function)."""

    tables: list[Table] = field(default_factory=list)
    sealed: dict[str, str] = field(default_factory=dict)
    optimizers: dict[str, Child] = field(default_factory=dict)


def find_tables(root: Node, tensor_of: TensorOf) -> Contents:
    """All tables and optimizers of the graph, in file order; a shared one once, at its first place.

    A table is a pickled nn.Module, or a mapping from strings with more tensors than other values, unless it holds
    a table of a well-known name (`state_dict`), or tables with at least as many tensors: then it is an envelope.
    """
    search = _Search(tensor_of)
    search.contents.tables = search.tables_in(Child("", root, None), "", 0)
    return search.contents


class _Search:
    """One walk over the graph; each container is entered once."""

    def __init__(self, tensor_of: TensorOf) -> None:
        self.contents = Contents()
        self._tensor_of = tensor_of
        self._seen: set[int] = set()
        self._optimizers: dict[int, bool] = {}

    def tables_in(self, child: Child, path: str, depth: int) -> list[Table]:
        node = child.node
        is_too_far = depth > _MAX_DEPTH or len(path) > _MAX_PATH_LENGTH
        if not is_too_far and isinstance(self._tensor_of(node), TensorNode):
            return []  # what most nodes are: without a state, and so no optimizer
        if self._is_optimizer(node):
            self.contents.optimizers[path] = child  # at each of its places, so that it can be left out everywhere
            return []
        if id(node) in self._seen or is_too_far or self._tensor_of(node) is not None:
            return []
        self._seen.add(id(node))
        _require_single_keys(node, path)
        if type(node) is Call and pairs_of(node) is None and any(self._tensor_of(value) is not None for _, value in node.pairs or ()):
            self.contents.sealed[path] = class_of(node)
        if is_module(node):
            return [table_of(node, path, self._tensor_of)]
        inner = [
            table
            for entry in children_of(node)
            for table in self.tables_in(entry, f"{path}.{entry.name}" if path else entry.name, depth + 1)
        ]
        return [table_of(node, path, self._tensor_of)] if self._is_table(node, path, inner) else inner

    def _is_optimizer(self, node: Node) -> bool:
        """Asked once for each node, which a file may name very often."""
        if id(node) not in self._optimizers:
            is_list = isinstance(node, list | tuple)
            parts = node if is_list else ()
            self._optimizers[id(node)] = (
                bool(parts) and all(not isinstance(part, list | tuple) and self._is_optimizer(part) for part in parts)
                if is_list
                else is_optimizer(node)
            )
        return self._optimizers[id(node)]

    def _is_table(self, node: Node, path: str, inner: list[Table]) -> bool:
        pairs = pairs_of(node) or ()
        names = [key_text(key) for key, _ in pairs]
        if None in names:
            return False
        tensors = sum(self._tensor_of(value) is not None for _, value in pairs)
        extra = sum(name is not None and name.rpartition(".")[2] == "_extra_state" for name in names)
        start = len(path) + 1 if path else 0
        if any(table.path[start:] in _KNOWN_NAMES for table in inner):
            return False
        return tensors > len(names) - tensors - extra and tensors > sum(table.summary.tensors for table in inner)


def _require_single_keys(node: Node, path: str) -> None:
    """CorruptError when a mapping names a string twice: a dict of Python cannot, and readers would differ on which holds."""
    seen: set[str] = set()
    for key, _ in pairs_of(node) or ():
        if isinstance(key, str):
            if key in seen:
                raise CorruptError(f"the mapping {path or '(root)'} holds the key {str(key)!r} twice")
            seen.add(str(key))


def choose_table(root: Node, contents: Contents, path: str | None, tensor_of: TensorOf) -> Table:
    """The table at `path`, or the only one there is.

    Raises RulesError when there are several and none is named, or when the name is none; CorruptError when there is no table.
    """
    if path is None:
        return _only_table(root, contents, tensor_of)
    found = next((table for table in contents.tables if table.path == path), None)
    if found is not None:
        return found
    for node in _nodes_at(root, path) if path else (root,):
        table = table_of(node, path, tensor_of) if is_module(node) or pairs_of(node) is not None else None
        if table is not None and table.summary.tensors:
            return table
    raise RulesError(f"no table of tensors at #{path}: the file holds {_listed(contents.tables)}")


def _only_table(root: Node, contents: Contents, tensor_of: TensorOf) -> Table:
    if len(contents.tables) == 1:
        return contents.tables[0]
    if contents.tables:
        raise RulesError(
            f"the file holds {len(contents.tables)} tables of tensors: {_listed(contents.tables)}",
            hint=f"name the one which is meant: PATH#{contents.tables[0].path}",
        )
    for place, function in contents.sealed.items():
        raise UnsafeError(f"the mapping {place or '(root)'} is what {function} made of arguments: only that could say what it holds")
    if _is_mixture(root, tensor_of):
        return table_of(root, "", tensor_of)
    raise CorruptError(
        f"no table of tensors in the file: it holds {_held(root, tensor_of)}", hint="a state_dict, or a mapping which holds one, is wanted"
    )


def _held(root: Node, tensor_of: TensorOf) -> str:
    """What a file holds which has no table, in short words."""
    if tensor_of(root) is not None:
        return "a single tensor"
    if isinstance(root, list | tuple) and any(tensor_of(item) is not None for item in root):
        return f"{words(root)}, tensors without names"
    pairs = pairs_of(root) or ()
    odd = next((key for key, _ in pairs if key_text(key) is None), ABSENT)
    is_odd = odd is not ABSENT and any(tensor_of(value) is not None for _, value in pairs)
    return f"{words(root)} with tensors and the key {words(odd)}, which is no string" if is_odd else words(root)


def _is_mixture(root: Node, tensor_of: TensorOf) -> bool:
    """Whether the root, for want of anything better, is a table: an empty one, or tensors outnumbered by other entries."""
    pairs = pairs_of(root)
    if pairs is None or any(key_text(key) is None for key, _ in pairs):
        return False
    return not pairs or any(tensor_of(value) is not None for _, value in pairs)


def _listed(tables: list[Table]) -> str:
    texts = [
        f"{table.summary.path or '(root)'} ({table.summary.tensors} tensors, {table.summary.nbytes:,} bytes)" for table in tables[:_LISTED]
    ]
    return ", ".join([*texts, *(["..."] if len(tables) > _LISTED else [])]) or "none"


def _nodes_at(node: Node, path: str) -> Iterator[Node]:
    """The containers at a dotted path; names may have dots of their own."""
    for child in children_of(node):
        if path == child.name:
            yield child.node
        elif path.startswith(f"{child.name}."):
            yield from _nodes_at(child.node, path[len(child.name) + 1 :])


def envelope_of(root: Node, contents: Contents, table: Table, tensor_of: TensorOf) -> Envelope:
    """The summary for a header."""
    own = table.path.partition(".")[0]
    beside = {} if table.node is root else {name: value for name, value in _top_level(root) if name not in (own, table.path)}
    return Envelope(
        path=table.path,
        tables=tuple(found.summary for found in contents.tables),
        contents={name: _content(name, value, contents, tensor_of) for name, value in beside.items()},
        scalars={name: json.dumps(value) for name, value in beside.items() if _is_scalar(value)},
        optimizers=tuple(contents.optimizers),
    )


def _top_level(root: Node) -> Iterator[tuple[str, Node]]:
    pairs = pairs_of(root)
    listed = enumerate(root) if isinstance(root, list | tuple) else state_pairs(root) if pairs is None else pairs
    for key, value in listed:
        name = str(key) if type(key) is int else key_text(key)
        if name is not None:
            yield name, value


def _is_scalar(value: Node) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_SCALAR_LENGTH
    if isinstance(value, int):
        return value.bit_length() <= _MAX_SCALAR_BITS
    return value is None or (isinstance(value, float) and isfinite(value))


def _content(name: str, value: Node, contents: Contents, tensor_of: TensorOf) -> str:
    if name in contents.optimizers:
        return "optimizer state"
    entry = tensor_of(value)
    if entry is None:
        return words(value)
    return f"tensor {entry.stored.spec}" if isinstance(entry, TensorNode) else str(entry)
