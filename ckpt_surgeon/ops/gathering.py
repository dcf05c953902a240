"""What the ops share which take rows along a dim from their inputs, in another order or number: bytes move, none changes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Final

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.protocol import Run
from ckpt_surgeon.ops.shaping import bounded, dim_within, is_outermost
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Gathered", "Rows"]

_MOST_RUNS: Final = 1024  # of an output; what is in more pieces is computed, and a plan of many such tensors stays quick
_MANY_RUNS: Final = 64
_SHORT_RUN: Final = 4096  # bytes; many pieces shorter than a page are copied in memory faster than in a file


@dataclass(frozen=True, slots=True)
class Rows:
    """`count` rows from `start` on, along the dim, of input number `input`."""

    input: int
    start: int
    count: int


class Gathered(TensorDefaults):
    """Each output is rows of the inputs along `dim`, one after the other. The inputs are alike but for their sizes there."""

    __slots__ = ()

    dim: int

    @abstractmethod
    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        """The size of each output along the dim; `sizes` are the inputs', `of` is the (first) input, for a message.

        Raises RulesError for sizes which do not fit. Makes nothing which is as long as a size.
        """

    @abstractmethod
    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        """The rows of each output, for sizes which fit."""

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The sizes along the dim as the rows are counted; all others stay."""
        first = specs[0]
        dim = self._dim_of(first.shape, first)
        counts = self._counts(tuple(spec.shape[dim] for spec in specs), first)
        return tuple(bounded((*first.shape[:dim], count, *first.shape[dim + 1 :]), first.dtype, self.name) for count in counts)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The outputs, each with its own memory."""
        import torch

        dim = self._dim_of(tensors[0].shape, list(tensors[0].shape))
        sizes = tuple(tensor.shape[dim] for tensor in tensors)
        self._counts(sizes, list(tensors[0].shape))
        plain = [as_movable(tensor) for tensor in tensors]
        outputs = []
        for rows in self._rows(sizes):
            parts = [plain[each.input].narrow(dim, each.start, each.count) for each in rows]
            outputs.append(same_type(torch.cat(parts, dim) if parts else plain[0].narrow(dim, 0, 0).clone(), tensors[0]))
        return tuple(outputs)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The rows as runs, when no dim larger than 1 stands before; None for many short ones."""
        outputs = self.infer(specs)
        dim = self._dim_of(specs[0].shape, specs[0])
        if not is_outermost(specs[0].shape, dim):
            return None
        row = prod(specs[0].shape[dim + 1 :]) * specs[0].dtype.itemsize
        found = []
        for output, rows in zip(outputs, self._rows(tuple(spec.shape[dim] for spec in specs)), strict=True):
            runs = list(islice(_joined(rows, row), _MOST_RUNS + 1)) if output.nbytes else []
            if len(runs) > _MOST_RUNS or (len(runs) > _MANY_RUNS and output.nbytes < len(runs) * _SHORT_RUN):
                return None
            found.append(tuple(runs))
        return tuple(found)

    def _dim_of(self, shape: Sequence[int], of: object) -> int:
        return dim_within(self.dim, len(shape), self.name, of)


def _joined(rows: Iterable[Rows], nbytes: int) -> Iterator[Run]:
    """Rows of `nbytes` bytes each as runs, those which touch as one."""
    last: Run | None = None
    for each in rows:
        run = Run(each.input, each.start * nbytes, each.count * nbytes)
        if last is not None and last.input == run.input and last.offset + last.nbytes == run.offset:
            last = Run(last.input, last.offset, last.nbytes + run.nbytes)
            continue
        if last is not None and last.nbytes:
            yield last
        last = run
    if last is not None and last.nbytes:
        yield last
