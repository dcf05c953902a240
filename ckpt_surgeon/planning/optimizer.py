"""Whether optimizer state may stay: torch finds it by the parameters' order, so they must be the same, in order and shape."""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning.recipe import Derived, Recipe
from ckpt_surgeon.spec import Header

__all__ = ["lost_order"]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def lost_order(source: Header, recipes: Mapping[str, Recipe], target: Header | None) -> str | None:
    """Why the state of `source`'s optimizer no longer fits the output's parameters; None while it fits, or where there is none.

    Parameters are told from buffers by the headers' kinds; where nobody tells, by the names of a batch norm's buffers.
    """
    if not source.envelope.optimizers:
        return None
    before = [key for key in source.tensors if key not in source.aliases and _is_parameter(key, source)]
    position = 0
    for key, recipe in recipes.items():
        if isinstance(recipe, Derived) or recipe.file:
            if _is_parameter(key, target or source):
                return f"{escape(key)} is adapted or new"
            continue
        if recipe.key in source.opaque or not _is_parameter(recipe.key, source):
            continue
        if position >= len(before) or recipe.key != before[position]:
            return f"{escape(key)} does not stand where its parameter stood"
        if key != recipe.key and key in source.tensors:
            return f"{escape(key)} now names what was {escape(recipe.key)}"
        position += 1
    return None if position == len(before) else f"{escape(before[position])} is gone"


def _is_parameter(key: str, header: Header) -> bool:
    if key in header.kinds:
        return header.kinds[key] == "parameter"
    return key.rpartition(".")[2] not in _BUFFERS
