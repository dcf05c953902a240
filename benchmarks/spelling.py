"""A recipe in the small language of the pairs' truths: source keys, and steps such as `transpose(1,0)|slice(0,0,512)`."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning import Derived, Recipe, Source
from ckpt_surgeon.spec import TensorSpec

__all__ = ["spelled"]

_PLAIN = "identity"
_RESHAPING = ("reshape", "fit", "squeeze", "unsqueeze", "linear_to_conv", "conv_to_linear")


def spelled(recipe: Recipe) -> tuple[list[str], str]:
    """The source keys in their order, and the steps; a step which the language lacks bears the op's own name."""
    if isinstance(recipe, Source):
        return [recipe.key], _PLAIN
    parts = [spelled(part) for part in recipe.inputs]
    before = _joined([op for _, op in parts], [len(keys) for keys, _ in parts])
    steps = [step for step in (before, _step(recipe)) if step != _PLAIN]
    return [key for keys, _ in parts for key in keys], "|".join(steps) or _PLAIN


def _joined(ops: list[str], sizes: list[int]) -> str:
    """What is done to the inputs, each by itself, before they are put together."""
    if len(ops) <= 1:
        return "".join(ops) or _PLAIN
    if set(sizes) != {1}:
        return f"group({sizes[0]};{ops[0]})" if len({*sizes}) == len({*ops}) == 1 else "unlike"
    if len(set(ops)) == 1:
        return _PLAIN if ops[0] == _PLAIN else f"each({ops[0]})"
    return f"parts({';;'.join(ops)})"


def _step(recipe: Derived) -> str:
    op: Any = recipe.op
    spec = recipe.inputs[0].spec if recipe.inputs else recipe.spec
    if not isinstance(spec, TensorSpec):
        return str(op.name)
    if op.name in ("concat", "stack"):
        return f"{op.name}({op.dim})"
    if op.name == "split":
        return _slice(op, spec, recipe.output)
    if op.name == "unstack":
        return f"slice({op.dim},{recipe.output},{recipe.output + 1})|{_reshape(recipe.spec)}"
    if op.name in _RESHAPING:
        return _reshape(recipe.spec)
    if op.name in ("transpose", "permute"):
        return f"transpose({','.join(map(str, _order(recipe.op, len(spec.shape))))})"
    if op.name == "adapt_in_channels":
        return _channels(op, spec, recipe.spec)
    if op.name == "inflate" and op.mode == "mean":
        time = recipe.spec.shape[op.dim]
        return f"unsqueeze({op.dim})|repeat({op.dim},{time})|scale(1/{time})"
    return _rows(op, spec, recipe.output)


def _reshape(spec: TensorSpec) -> str:
    return f"reshape({','.join(map(str, spec.shape))})"


def _slice(op: Any, spec: TensorSpec, output: int) -> str:
    ends = list(accumulate(part.shape[op.dim] for part in op.infer((spec,))))
    return f"slice({op.dim},{ends[output - 1] if output else 0},{ends[output]})"


def _order(op: TensorOp, rank: int) -> list[int]:
    """The dims of the input in the order which they take: sizes which differ tell them apart."""
    (moved,) = op.apply((torch.empty([dim + 2 for dim in range(rank)]),))
    return [size - 2 for size in moved.shape]


def _channels(op: Any, spec: TensorSpec, result: TensorSpec) -> str:
    before, after = spec.shape[op.dim], result.shape[op.dim]
    if op.mode == "mean" and op.rescale in (None, "none"):
        return f"mean({op.dim})|repeat({op.dim},{after})"
    if op.mode == "sum" and after == 1:
        return f"sum({op.dim})"
    if op.mode == "repeat":
        rows = ",".join(str(row % before) for row in range(after))
        return f"take({op.dim};{rows})|scale({before}/{after})"
    return str(op.name)


def _rows(op: Any, spec: TensorSpec, output: int) -> str:
    """An op which only moves rows, found out on their numbers."""
    dim = getattr(op, "dim", 0)
    if dim >= len(spec.shape):
        return str(op.name)
    numbers = torch.arange(spec.shape[dim]).reshape([-1 if at == dim else 1 for at in range(len(spec.shape))])
    try:
        moved = op.apply((numbers,))[output]
    except (RulesError, RuntimeError, ValueError, IndexError):
        return str(op.name)
    return f"take({dim};{','.join(map(str, moved.flatten().tolist()))})" if moved.numel() == moved.shape[dim] else str(op.name)
