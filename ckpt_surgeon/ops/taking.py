"""Ops which keep a part of a tensor along a dim: slice, take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, positive
from ckpt_surgeon.ops.gathering import Gathered, Rows
from ckpt_surgeon.ops.protocol import Arity, Contract
from ckpt_surgeon.ops.ranges import ranges_of
from ckpt_surgeon.ops.shaping import one_input, target_size
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Slice", "Take"]


class _Part(Gathered):
    """One tensor, of which rows stay."""

    __slots__ = ()

    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with as many rows as stay."""
        one_input(specs, self.name)
        return Gathered.infer(self, specs)


@dataclass(frozen=True, slots=True)
class Slice(_Part):
    """Keep a run of rows along a dim: the words of an embedding without its padding.

    start, stop: as Python's slices mean them, negative ones from the end; but neither may lie outside of the tensor, which
    Python would pass over in silence. `stop: target` keeps as many rows as the target has; left out, all to the end.
    step: every how many rows one stays.

    >>> op = Slice(stop=50257)
    >>> print(*op.infer((TensorSpec.of("float32", 50304, 768),)))
    f32[50257, 768]
    """

    name: ClassVar[str] = "slice"

    dim: int = 0
    start: int = 0
    stop: int | Literal["target"] | None = None
    step: int = 1

    def __post_init__(self) -> None:
        integer(self.dim, "slice: dim")
        integer(self.start, "slice: start")
        positive(self.step, "slice: step")
        if self.stop not in (None, "target"):
            integer(self.stop, "slice: stop")
        if self.stop == "target" and self.start < 0:
            raise RulesError(f"slice: start is {self.start}, and stop the target's", hint="Count start from the front.")

    @property
    def needs_target(self) -> bool:
        """Whether the number of rows is the target's."""
        return self.stop == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Slice:
        """With the target's number of rows, if it is to be that."""
        if self.stop != "target":
            return self
        if targets is None:
            raise _lacks_target()
        rows = target_size(one_input(targets, self.name), self.dim, self.name)
        return replace(self, stop=self.start + (rows - 1) * self.step + 1 if rows else self.start)

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        for word, at in (("start", self.start), ("stop", self.stop)):
            if isinstance(at, int) and not -sizes[0] <= at <= sizes[0]:
                hint = f"What fits: {-sizes[0]}..{sizes[0]}."
                raise RulesError(f"slice: {word} {at} is outside of dim {self.dim} of {of}, whose size is {sizes[0]}", hint=hint)
        start, stop = self._ends(sizes[0])
        if stop < start:
            raise RulesError(f"slice: stop {stop} stands before start {start} in dim {self.dim} of {of}")
        return (len(range(start, stop, self.step)),)

    def _ends(self, size: int) -> tuple[int, int]:
        if self.stop == "target":
            raise _lacks_target()
        start, stop, _ = slice(self.start, self.stop).indices(size)
        return start, stop

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        start, stop = self._ends(sizes[0])
        if self.step == 1:
            return ([Rows(0, start, stop - start)],)
        return ((Rows(0, at, 1) for at in range(start, stop, self.step)),)


@dataclass(frozen=True, slots=True)
class Take(_Part):
    """Keep rows by their numbers along a dim, in the order given; a number given twice stands there twice.

    indices: numbers from 0, and ranges with both ends (`0-9`).

    >>> op = Take(indices=("0-3", 7, 5))
    >>> print(*op.infer((TensorSpec.of("float32", 1000, 512),)))
    f32[6, 512]
    """

    name: ClassVar[str] = "take"

    indices: int | str | tuple[int | str, ...]
    dim: int = 0

    def __post_init__(self) -> None:
        integer(self.dim, "take: dim")
        given = self.indices if isinstance(self.indices, list | tuple) else (self.indices,)
        assign(self, indices=tuple(given))
        ranges_of(given, "take: indices")

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        ranges = self._ranges()
        beyond = [each[-1] for each in ranges if each[-1] >= sizes[0]]
        if beyond:
            fits = f"Rows which fit: 0..{sizes[0] - 1}." if sizes[0] else "It has no rows."
            raise RulesError(f"take: dim {self.dim} of {of} has {sizes[0]} rows, so none is number {beyond[0]}", hint=fits)
        return (sum(map(len, ranges)),)

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        return ([Rows(0, each.start, len(each)) for each in self._ranges()],)

    def _ranges(self) -> tuple[range, ...]:
        return ranges_of(self.indices, "take: indices")


def _lacks_target() -> RulesError:
    return RulesError("slice: its stop is the target's, and there is none", hint="Give a target, or a number.")
