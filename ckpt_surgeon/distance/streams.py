"""The bytes of a tensor of a plan, in pieces of equal size, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.planning import Recipe

__all__ = ["Stream"]


@dataclass(frozen=True, slots=True)
class Stream:
    """The contiguous little-endian bytes of a tensor."""

    parts: Sequence[Part]

    @classmethod
    def of(cls, evaluator: Evaluator, recipe: Recipe) -> Stream:
        """The bytes which a recipe comes to; what is computed is computed here, once."""
        return cls(list(evaluator.parts(recipe)))

    def pieces(self, nbytes: int) -> Iterator[bytes]:
        """The bytes in pieces of `nbytes`, the last one shorter, however the parts are cut."""
        rest = bytearray()
        for piece in _cut(self.parts, nbytes):
            if not rest and len(piece) == nbytes:
                yield piece
                continue
            rest += piece
            if len(rest) >= nbytes:
                yield bytes(rest[:nbytes])
                del rest[:nbytes]
        if rest:
            yield bytes(rest)


def _cut(parts: Iterable[Part], nbytes: int) -> Iterator[bytes]:
    """Each part in pieces of at most `nbytes`."""
    for part in parts:
        if isinstance(part, FileRange):
            yield from pieces(part, nbytes)
            continue
        view = memoryview(part)
        yield from (bytes(view[start : start + nbytes]) for start in range(0, len(view), nbytes))
