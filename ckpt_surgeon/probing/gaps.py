"""How far the values which links make are from those which the target has."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.mapping.writing.proving import wanted_recipes

__all__ = ["EQUAL", "Gaps"]

EQUAL = 1e-6  # relative L2 from which on two tensors of one dtype are not the same; a change of dtype alone may cost more
_FAR = 0.5  # nothing so far off is near, whatever else the links make: it need not be read
_ENOUGH = 256  # elements which tell that
_ROUNDED = 1e-2  # where one side is of another dtype: bfloat16 has 8 bits


class Gaps:
    """Measures links against a target whose values are there; each tensor is read when it is asked for, and let go."""

    def __init__(self, source: Reader, target: Reader) -> None:
        self._source, self._target = source, target
        self._evaluator = Evaluator({"": source})
        self._known: dict[tuple[Link, ...], float] = {}

    def gap(self, links: tuple[Link, ...]) -> float:
        """The relative L2 of all which the links make from what the target has; 0 where the dtypes alone tell them apart.

        Of links which are far off, of their first tensors. Infinite where the target has nothing but constants, which tell nothing,
        or where numbers which are none, or infinite on one side only, stand among them.
        """
        if links not in self._known:
            self._known[links] = self._measured(links)
        return self._known[links]

    def _measured(self, links: Sequence[Link]) -> float:
        gap = size = 0.0
        for key, recipe in wanted_recipes(links, self._source.header, self._target.header).items():
            wanted = self._target.read(key)
            if not wanted.numel() or bool((wanted == wanted.flatten()[0]).all()):
                continue  # as it was built, most likely: all norms are ones then
            found = self._evaluator.tensor(recipe)
            apart, root = _norms(found.reshape(wanted.shape), wanted)
            if not isfinite(apart):
                return inf
            is_rounded = found.dtype != wanted.dtype and apart <= _ROUNDED * root
            gap += 0.0 if is_rounded else apart**2
            size += root**2
            if wanted.numel() >= _ENOUGH and apart > _FAR * root:
                return apart / root if root else inf
        return sqrt(gap / size) if size else inf


def _norms(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """L2 of the difference, and of the finite numbers of what is wanted."""
    wide = torch.complex128 if found.is_complex() or wanted.is_complex() else torch.float64
    first, second = found.to(wide).flatten(), wanted.to(wide).flatten()
    apart = torch.where(first == second, 0.0, first - second)
    return float(torch.linalg.vector_norm(apart)), float(torch.linalg.vector_norm(second[second.isfinite()]))
