"""`_metadata` moves with its modules: module path -> module path, from how keys moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["moved_metadata"]


def moved_metadata(
    moves: Iterable[tuple[str, str]], metadata: Mapping[str, Mapping[str, Any]], source_keys: Iterable[str]
) -> dict[str, Mapping[str, Any]]:
    """The `_metadata` of the output, from (source key, output key) pairs and all keys of the source.

    A module's entry goes where its tensors went (the root's stays at the root as well); a module without tensors goes with
    its nearest ancestor.
    The entry of a module whose every tensor was left out stays behind.
    """
    if not metadata:
        return {}
    modules_of = _moved_modules(moves)
    filled = _with_ancestors(source_keys)
    moved: dict[str, Mapping[str, Any]] = {"": metadata[""]} if "" in metadata else {}
    for path, entry in metadata.items():
        for place in _places(path, modules_of, filled):
            moved.setdefault(place, entry)
    return moved


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _moved_modules(moves: Iterable[tuple[str, str]]) -> dict[str, dict[str, None]]:
    """Source module -> output modules: of a moved key its own, and on the way up while the paths say the same."""
    found: dict[str, dict[str, None]] = {"": {"": None}}
    for source_key, output_key in moves:
        source, output = _parent(source_key), _parent(output_key)
        while output not in found.setdefault(source, {}):
            found[source][output] = None
            is_alike = source.rpartition(".")[2] == output.rpartition(".")[2]
            source, output = _parent(source), _parent(output)
            if not is_alike and source != output:
                break
    return found


def _with_ancestors(keys: Iterable[str]) -> set[str]:
    """Every module which holds a tensor, itself or below."""
    found: set[str] = set()
    for key in keys:
        path = _parent(key)
        while path and path not in found:
            found.add(path)
            path = _parent(path)
    return found


def _places(path: str, modules_of: Mapping[str, Iterable[str]], filled: set[str]) -> list[str]:
    rest: list[str] = []
    while path not in modules_of:
        if path in filled:
            return []
        path, _, leaf = path.rpartition(".")
        rest.insert(0, leaf)
    return [".".join(part for part in (module, *rest) if part) for module in modules_of[path]]
