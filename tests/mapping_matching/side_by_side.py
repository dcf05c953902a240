"""Two headers written side by side, row by row, so that the truth stands beside them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

from headers import batch_norm

__all__ = ["ORDERS", "Pair", "side_by_side"]

ORDERS = ("natural", "sorted", "shuffled")
Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Truth = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Pair:
    """Two headers as shapes, and for each target key the source keys which it comes from; a key which is new stands not in it."""

    source: Shapes
    target: Shapes
    truth: Truth

    def ordered(self, order: str) -> "Pair":
        """The same with its source in the file's order, by name, or in none; in the last case the target, too."""
        if order == "natural":
            return self
        if order == "sorted":
            return replace(self, source=dict(sorted(self.source.items())))
        generator = random.Random(7)
        sides = [list(side.items()) for side in (self.source, self.target)]
        for side in sides:
            generator.shuffle(side)
        return replace(self, source=dict(sides[0]), target=dict(sides[1]))

    def reversed(self) -> "Pair":
        """From the target back to the source, where each key comes from one key or is one of several parts."""
        back: Truth = {}
        for key, sources in self.truth.items():
            for source in sources:
                back[source] = (*back.get(source, ()), key)
        return Pair(self.target, self.source, back)


def side_by_side(text: str, *repeats: Mapping[str, object]) -> Pair:
    """The pair which the rows say: `SOURCE | TARGET | SHAPE KIND`.

    A name in braces is filled in, once for each of `repeats`, by whole groups of rows which hold braces. Several names of one side
    are joined by ` + `: the other holds them one behind the other. A side which is `-` lacks the row. SHAPE is `64x3x7x7`, or `a > b`
    where the target's differs. KIND: `wb` weight and bias, `w` weight alone, `bn` a batch norm, `.` the name is the key.
    """
    made = Pair({}, {}, {})
    rows = [tuple(cell.strip() for cell in line.split("|")) for line in text.splitlines() if line.strip()]
    for is_repeated, group in groupby(rows, key=lambda row: "{" in "".join(row)):
        several = list(group)
        for values in repeats if is_repeated else ({},):
            for row in several:
                _add(made, *(cell.format(**values) for cell in row))
    return made


def _add(pair: Pair, source: str, target: str, spec: str) -> None:
    shapes, kind = spec.rsplit(" ", 1)
    before, _, after = shapes.partition(">")
    names = [[] if side == "-" else side.split(" + ") for side in (source, target)]
    parts = max(map(len, names))
    tensors = [list(_tensors(side, _shape(shape), kind, parts)) for side, shape in zip(names, (before, after or before), strict=True)]
    for side, found in zip((pair.source, pair.target), tensors, strict=True):
        side.update(pair_of for row in found for pair_of in row)
    for left, right in zip(*tensors, strict=False):
        for key, _ in right if left else ():
            pair.truth[key] = tuple(name for name, _ in left)


def _shape(text: str) -> Shape:
    return tuple(int(size) for size in text.strip().split("x") if size)


def _tensors(names: Sequence[str], shape: Shape, kind: str, parts: int) -> Iterator[list[tuple[str, Shape]]]:
    """For each tensor of a layer its key and shape under each of the names; one name for several parts holds them all."""
    whole = len(names) == 1 and parts > 1
    for leaf, size in _leaves(shape, kind).items():
        full = (size[0] * parts, *size[1:]) if whole else size
        yield [(f"{name}.{leaf}" if leaf else name, full) for name in names]


def _leaves(shape: Shape, kind: str) -> Shapes:
    if kind == ".":
        return {"": shape}
    if kind == "bn":
        return {key.removeprefix("bn."): size for key, size in batch_norm("bn", prod(shape)).items()}
    return {"weight": shape, "bias": shape[:1]} if kind == "wb" else {"weight": shape}
