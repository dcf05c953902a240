"""The nested state_dict of a distributed checkpoint, which it holds flattened: paths and leaves -> an object graph. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.distributed_metadata import EntryPath
from ckpt_surgeon.formats.pickle_nodes import Dict, Node, lookup
from ckpt_surgeon.formats.torch_containers import is_optimizer

__all__ = ["nested"]

# State_dicts nest some ten levels deep.
_MAX_DEPTH: Final = 64
# Where a list held nothing which is kept (an empty dict), its place is None, as torch has it; more of them is a lie about an index.
_MAX_GAPS: Final = 100_000
# A number of a parameter.
_MAX_DIGITS: Final = 9


class _Branch(dict[str | int, "Node | _Branch"]):
    """A dict or a list in the making; which of them, its first key tells."""


def nested(paths: Mapping[str, EntryPath], leaves: Mapping[str, Node]) -> Node:
    """The dict of dicts and lists in which each leaf stands at its path.

    Raises CorruptError for two entries at one path, below one another, or by key and by index in one place; LimitError for wild indices.
    """
    root = _Branch()
    for key, leaf in leaves.items():
        _put(root, key, paths[key], leaf)
    return _Nodes().of(root)


def _put(root: _Branch, key: str, path: EntryPath, leaf: Node) -> None:
    if len(path) > _MAX_DEPTH:
        raise LimitError(f"the entry {key!r} stands {len(path)} levels deep: {_MAX_DEPTH} are allowed")
    branch = root
    for name in path[:-1]:
        inner = branch.setdefault(name, _Branch())
        if not isinstance(inner, _Branch):
            raise CorruptError(f"the entry {key!r} stands within another one")
        branch = inner
    if path[-1] in branch:
        raise CorruptError(f"the entry {key!r} stands where another one does")
    branch[path[-1]] = leaf


class _Nodes:
    """Branches as nodes, with a count of the gaps in all lists together."""

    def __init__(self) -> None:
        self._gaps = 0

    def of(self, branch: Node | _Branch) -> Node:
        if not isinstance(branch, _Branch):
            return branch
        kinds = {type(name) for name in branch}
        if kinds == {int}:
            return self._listed(branch)
        if int in kinds:
            raise CorruptError("the metadata has entries of one container by key and by index")
        node = Dict([(name, self.of(inner)) for name, inner in branch.items()])
        if is_optimizer(node):
            _number_parameters(lookup(node.pairs, "state"))
        return node

    def _listed(self, branch: _Branch) -> list[Node]:
        indices = [name for name in branch if isinstance(name, int)]
        self._gaps += max(indices) + 1 - len(indices)
        if self._gaps > _MAX_GAPS:
            raise LimitError(f"a list of the checkpoint has an entry {max(indices):,} and only {len(indices):,} in all")
        return [self.of(branch.get(index)) for index in range(max(indices) + 1)]


def _number_parameters(state: Node) -> None:
    """Give back to an optimizer's state its parameters' numbers, which were flattened to texts: under a text torch finds none."""
    if type(state) is Dict and all(_is_number(key) for key, _ in state.pairs):
        state.pairs[:] = [(int(key), value) for key, value in state.pairs]


def _is_number(key: Node) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) <= _MAX_DIGITS and str(int(key)) == key
