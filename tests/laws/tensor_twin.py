"""A slow plain twin of `remap` for tensor rules, written from the design alone: load all, call torch, put back.

A table is a dict `key -> Held`. A rule is what a YAML file says: `{"concat": {"source": [...], "target": ..., "dim": 0}}`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["Held", "Refused", "Table", "judged"]


class Refused(Exception):  # noqa: N818
    """The rule does not fit these tensors."""


@dataclass(frozen=True)
class Held:
    """A tensor, and the source keys which it is made of. `copied`: how often it was copied on its way, and by which rules."""

    tensor: Tensor
    reads: frozenset[str]
    copied: tuple[int, ...] = ()


Table = dict[str, Held]
Body = dict[str, Any]

# Which of these types holds every value of which other.
_HOLDS = {
    torch.float16: [torch.float32, torch.float64],
    torch.float32: [torch.float64],
    torch.float64: [],
    torch.int8: [torch.int16, torch.int64, torch.float16, torch.float32, torch.float64],
    torch.int16: [torch.int64, torch.float32, torch.float64],
    torch.int64: [],
    torch.bool: [torch.int8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64],
}


def judged(rules: list[dict[str, Any]], tensors: dict[str, Tensor]) -> Table:
    """The table which the rules leave, in order, or Refused."""
    table = {key: Held(tensor, frozenset([key])) for key, tensor in tensors.items()}
    for number, rule in enumerate(rules):
        ((name, body),) = rule.items()
        table = _NAMES[name](body, table, number) if name in _NAMES else _computed(name, body, table)
    return table


def _computed(name: str, body: Body, table: Table) -> Table:
    """One op on one group of keys: its inputs leave, its outputs stand where the first of them stood."""
    inputs = _listed(body.get("source", body.get("match")))
    outputs = _listed(body.get("target", body.get("match")))
    if len(set(inputs)) < len(inputs) or len(set(outputs)) < len(outputs) or not set(inputs) <= set(table):
        raise Refused(f"{name}: {inputs} -> {outputs}")
    try:
        tensors = _TENSORS[name](body, *(table[key].tensor for key in inputs))
    except (RuntimeError, IndexError, ValueError) as error:
        raise Refused(f"{name}: {error}") from error
    if len(tensors) != len(outputs):
        raise Refused(f"{name}: {len(tensors)} tensors for {len(outputs)} keys")
    reads = frozenset().union(*(table[key].reads for key in inputs))
    copied = sum((table[key].copied for key in inputs), ())
    return _put(table, inputs, inputs[0], {key: Held(tensor, reads, copied) for key, tensor in zip(outputs, tensors, strict=True)})


def _put(table: Table, gone: list[str], place: str, new: Table) -> Table:
    """The table with `new` at the place of one key, without those which are gone."""
    after: list[tuple[str, Held]] = []
    for key, held in table.items():
        after += list(new.items()) if key == place else []
        after += [] if key in gone else [(key, held)]
    if len(dict(after)) < len(after):
        raise Refused("two recipes for one key")
    return dict(after)


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _pair(body: Body, table: Table) -> tuple[str, str]:
    ((source, target),) = body.items()
    if source not in table:
        raise Refused(f"{source} matches nothing")
    return source, target


def _rename(body: Body, table: Table, _number: int) -> Table:
    source, target = _pair(body, table)
    return _put(table, [source], source, {target: table[source]})


def _copy(body: Body, table: Table, number: int) -> Table:
    source, target = _pair(body, table)
    held = table[source]
    return _twinned(table, source, target, replace(held, copied=(*held.copied, number)))


def _tie(body: Body, table: Table, _number: int) -> Table:
    source, target = _pair(body, table)
    return _twinned(table, source, target, table[source])


def _twinned(table: Table, source: str, target: str, held: Held) -> Table:
    if target in table:
        raise Refused(f"two recipes for {target}")
    return _put(table, [source], source, {source: table[source], target: held})


def _drop(body: str, table: Table, _number: int) -> Table:
    if body not in table:
        raise Refused(f"{body} matches nothing")
    return {key: held for key, held in table.items() if key != body}


def _squeeze(body: Body, tensor: Tensor) -> list[Tensor]:
    if "dims" not in body or any(tensor.size(dim) != 1 for dim in _distinct(body["dims"], tensor.dim())):
        raise Refused("squeeze")
    return [tensor.squeeze(tuple(body["dims"]))]


def _unsqueeze(body: Body, tensor: Tensor) -> list[Tensor]:
    for dim in sorted(_distinct(body["dims"], tensor.dim() + len(body["dims"]))):
        tensor = tensor.unsqueeze(dim)
    return [tensor]


def _distinct(dims: list[int], rank: int) -> list[int]:
    if any(not -rank <= dim < rank for dim in dims) or len({dim % rank for dim in dims}) < len(dims):
        raise Refused(f"dims {dims} of {rank}")
    return [dim % rank for dim in dims]


def _reshape(body: Body, tensor: Tensor) -> list[Tensor]:
    return [tensor.reshape(body["shape"])]


def _transpose(body: Body, tensor: Tensor) -> list[Tensor]:
    if "dims" not in body and tensor.dim() != 2:
        raise Refused("transpose")
    return [tensor.transpose(*_distinct(body.get("dims", [0, 1]), tensor.dim()))]


def _permute(body: Body, tensor: Tensor) -> list[Tensor]:
    return [tensor.permute(body["dims"])]


def _cast(body: Body, tensor: Tensor) -> list[Tensor]:
    dtype = getattr(torch, body["dtype"])
    if dtype != tensor.dtype and dtype not in _HOLDS[tensor.dtype]:
        raise Refused("a narrowing cast")
    return [tensor.to(dtype)]


def _split(body: Body, tensor: Tensor) -> list[Tensor]:
    size = tensor.size(body.get("dim", 0))
    parts = len(body["target"])
    if "sizes" not in body and size % parts:
        raise Refused("no equal parts")
    return list(tensor.split(body.get("sizes", [size // parts] * parts), body.get("dim", 0)))


def _concat(body: Body, *tensors: Tensor) -> list[Tensor]:
    _alike(tensors)
    _distinct([body.get("dim", 0)], tensors[0].dim())  # torch takes any dim for f32[0]
    if prod(tensors[0].shape) == 0 and len({tensor.shape for tensor in tensors}) > 1:
        _check_sizes(body.get("dim", 0), tensors)  # torch lets an empty f32[0] join anything
    return [torch.cat(tensors, body.get("dim", 0))]


def _check_sizes(dim: int, tensors: tuple[Tensor, ...]) -> None:
    shapes = [list(tensor.shape) for tensor in tensors]
    for shape in shapes:
        shape[dim] = 0
    if any(shape != shapes[0] for shape in shapes):
        raise Refused("concat")


def _stack(body: Body, *tensors: Tensor) -> list[Tensor]:
    _alike(tensors)
    return [torch.stack(tensors, body.get("dim", 0))]


def _alike(tensors: tuple[Tensor, ...]) -> None:
    if len({(tensor.dtype, tensor.dim()) for tensor in tensors}) > 1:
        raise Refused("other types or dims")


def _unstack(body: Body, tensor: Tensor) -> list[Tensor]:
    return list(tensor.unbind(body.get("dim", 0)))


_NAMES: dict[str, Callable[[Any, Table, int], Table]] = {"rename": _rename, "copy": _copy, "tie": _tie, "drop": _drop}
_TENSORS: dict[str, Callable[..., list[Tensor]]] = {
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "reshape": _reshape,
    "transpose": _transpose,
    "permute": _permute,
    "cast": _cast,
    "split": _split,
    "concat": _concat,
    "stack": _stack,
    "unstack": _unstack,
}
