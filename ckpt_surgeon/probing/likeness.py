"""How near two activations are, whatever their layout, and two models' outputs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

__all__ = ["ALIKE", "OTHER", "Moments", "Seen", "distance", "moments", "tensors_of"]

ALIKE = 1e-4  # relative L2 of what two implementations compute of the same weights in float32
OTHER = 1e-3  # from here on two results are not the same; in between nothing is said

Moments = tuple[int, tuple[float, ...]]
_LEAST = 1e-12


def tensors_of(value: Any) -> list[Tensor]:
    """The float tensors in a model's inputs or outputs, in their order: a tensor, tuples, dicts, dataclasses of them."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        return [tensor for each in value.values() for tensor in tensors_of(each)]
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in tensors_of(each)]
    if is_dataclass(value) and not isinstance(value, type):
        return [tensor for field in fields(value) for tensor in tensors_of(getattr(value, field.name))]
    return []


def moments(tensor: Tensor) -> Moments:
    """Its number of elements, and of their values what no order of them changes: mean, mean absolute, root mean square, extremes."""
    flat = tensor.detach().float().flatten()
    if not flat.numel():
        return 0, ()
    low, high = torch.aminmax(flat)
    norms = (torch.linalg.vector_norm(flat, order) / flat.numel() ** (1 / order) for order in (1, 2))
    return flat.numel(), tuple(map(float, (flat.mean(), *norms, low, high)))


class Seen:
    """The activations of one run, which those of another are looked for in."""

    def __init__(self, found: Iterable[Moments]) -> None:
        self._known = set(found)
        self._by_size: dict[int, list[tuple[float, ...]]] = defaultdict(list)
        for numel, numbers in self._known:
            if numbers and all(map(isfinite, numbers)):
                self._by_size[numel].append(numbers)
        for each in self._by_size.values():
            each.sort(key=_size)

    def __contains__(self, wanted: Moments) -> bool:
        """Whether one is alike, which is looked for among those of about its size; what is not finite has to be the same."""
        numel, numbers = wanted
        if wanted in self._known or not numbers or not all(map(isfinite, numbers)):
            return wanted in self._known
        apart = ALIKE * max(map(abs, numbers))
        others = self._by_size[numel]
        first = bisect_left(others, _size(numbers) - apart, key=_size)
        last = bisect_right(others, _size(numbers) + apart, key=_size)
        return any(all(abs(a - b) <= apart for a, b in zip(numbers, other, strict=True)) for other in others[first:last])


def _size(numbers: tuple[float, ...]) -> float:
    """The root mean square."""
    return numbers[2]


def distance(outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> float | None:
    """How far outputs are from those wanted: each from the nearest of its shape, the furthest of all; None where none has one."""
    gaps = []
    for output in outputs:
        gaps += [min(gap) for gap in [[_gap(output, other) for other in wanted if _shape(other) == _shape(output)]] if gap]
    return max(gaps, default=None)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if size != 1)


def _gap(output: Tensor, wanted: Tensor) -> float:
    """The larger of relative L2 and of the largest difference over the largest number; infinite where only one is finite."""
    first, second = output.double().flatten(), wanted.double().flatten()
    gap = torch.where(first == second, 0.0, first - second)
    finite = second[second.isfinite()]
    ratios = [float(norm(gap) / norm(finite).clamp_min(_LEAST)) for norm in (_root_of_squares, _largest)]
    return max(ratios) if all(map(isfinite, ratios)) else inf


def _root_of_squares(numbers: Tensor) -> Tensor:
    return numbers.square().sum().sqrt()


def _largest(numbers: Tensor) -> Tensor:
    return numbers.abs().max() if numbers.numel() else numbers.new_zeros(())
