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
    module_of = _moved_modules(moves)
    filled = _with_ancestors(source_keys)
    moved: dict[str, Mapping[str, Any]] = {"": metadata[""]} if "" in metadata else {}
    for path, entry in metadata.items():
        place = _place(path, module_of, filled)
        if place is not None:
            moved.setdefault(place, entry)
    return moved


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _moved_modules(moves: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Source module -> output module: for a moved key its module, and on the way up while the last segments agree."""
    found: dict[str, str] = {}
    for source_key, output_key in moves:
        source, output = _parent(source_key), _parent(output_key)
        while source not in found:
            found[source] = output
            if not source or source.rpartition(".")[2] != output.rpartition(".")[2]:
                break
            source, output = _parent(source), _parent(output)
    return {"": "", **found}


def _with_ancestors(keys: Iterable[str]) -> set[str]:
    """Every module which holds a tensor, itself or below."""
    found: set[str] = set()
    for key in keys:
        path = _parent(key)
        while path and path not in found:
            found.add(path)
            path = _parent(path)
    return found


def _place(path: str, module_of: Mapping[str, str], filled: set[str]) -> str | None:
    rest: list[str] = []
    while path not in module_of:
        if path in filled:
            return None
        path, _, leaf = path.rpartition(".")
        rest.insert(0, leaf)
    return ".".join(part for part in (module_of[path], *rest) if part)
