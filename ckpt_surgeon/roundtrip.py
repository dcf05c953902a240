"""There and back: an output, taken back by the inverse rules, must be its source bit for bit. Nothing is written a second time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.errors import InverseError, Problem
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Part, Reader
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.planning import Plan, Source

__all__ = ["check_way_back"]


def check_way_back(back: Plan, output: Reader, source: Reader) -> None:
    """Compare what the plan `back` makes of an open output with the source, one tensor at a time; opaque entries are not compared.

    Raises InverseError naming the keys whose bits differ.
    """
    ours, theirs = Evaluator({"": output}), Evaluator({"": source})
    wrong = []
    for key, spec in source.header.tensors.items():
        if key in source.header.aliases:
            continue
        recipe = back.recipes[back.ties.get(key, key)]
        if not _equal(ours.parts(recipe), theirs.parts(Source(key, spec))):
            wrong.append(key)
    if wrong:
        what = f"there and back, {len(wrong)} of {len(source.header.tensors)} tensors are not what they were: {listed(wrong)}"
        raise InverseError([Problem(what, hint="nothing was written; leave out --check-roundtrip to write it all the same")])


def _equal(first: Iterable[Part], second: Iterable[Part]) -> bool:
    """Whether the parts make up the same bytes, however they are cut."""
    ours, theirs = _pieces(first), _pieces(second)
    left, right = memoryview(b""), memoryview(b"")
    while True:
        left = left or next(ours, left)
        right = right or next(theirs, right)
        size = min(len(left), len(right))
        if not size:
            return len(left) == len(right)
        if bytes(left[:size]) != bytes(right[:size]):  # memory views are compared element by element, bytes at once
            return False
        left, right = left[size:], right[size:]


def _pieces(parts: Iterable[Part]) -> Iterator[memoryview]:
    """The bytes of the parts, none of the pieces empty."""
    for part in parts:
        for piece in pieces(part) if isinstance(part, FileRange) else (part,):
            view = memoryview(piece).cast("B")
            if view:
                yield view
