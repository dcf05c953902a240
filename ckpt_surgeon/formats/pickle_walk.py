"""A walk over a node graph, each node once, without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Node, Persistent, Set

__all__ = ["persistent_nodes"]

_INNER: Final = frozenset({tuple, list, Dict, Set, Call, Persistent})


def persistent_nodes(root: Node) -> Iterator[Persistent]:
    """All persistent ids of the graph, in the order in which a pickler meets them."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if type(node) not in _INNER or id(node) in seen:
            continue
        seen.add(id(node))
        if type(node) is Persistent:
            yield node
        waiting.extend(reversed([inner for inner in _inner_nodes(node) if type(inner) in _INNER]))


def _inner_nodes(node: Node) -> Iterable[Node]:
    if type(node) is Call:
        state = () if node.state is ABSENT else (node.state,)
        return (node.function, node.arguments, *(node.items or ()), *chain.from_iterable(node.pairs or ()), *state)
    if type(node) is Dict:
        return chain.from_iterable(node.pairs)
    if type(node) is Set:
        return node.items
    if type(node) is Persistent:
        return (node.pid,)
    inner: Iterable[Node] = node
    return inner
