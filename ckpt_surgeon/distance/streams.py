"""The bytes of a tensor of a plan, in pieces of equal size, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.evaluation import Evaluator, equal_pieces
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import Recipe

__all__ = ["Stream", "trusting"]


@dataclass(frozen=True, slots=True)
class Stream:
    """The contiguous little-endian bytes of a tensor. parts: those bytes, as often as they are walked through."""

    parts: Iterable[Part]

    @classmethod
    def of(cls, evaluator: Evaluator, recipe: Recipe) -> Stream:
        """The bytes which a recipe comes to; a tensor which is computed as a whole is computed here, once."""
        parts: Iterable[Part] = evaluator.parts(recipe)
        return cls(parts if isinstance(parts, Sequence) else _Streamed(evaluator, recipe))

    @property
    def checksums(self) -> list[tuple[int, int]]:
        """(bytes, CRC-32) of its parts, where all of them lie in files which state one; else empty."""
        parts = self.parts if isinstance(self.parts, Sequence) else ()
        found = [(part.nbytes, part.crc) for part in parts if isinstance(part, FileRange) and part.crc is not None]
        return found if len(found) == len(parts) else []

    def without_checksums(self) -> Stream:
        """The same bytes, whose checksums nobody compares."""
        return Stream([replace(part, crc=None) if isinstance(part, FileRange) else part for part in self.parts])

    def pieces(self, nbytes: int) -> Iterator[bytes]:
        """The bytes in pieces of `nbytes`, the last one shorter, however the parts are cut."""
        return equal_pieces(self.parts, nbytes)


def trusting(first: Stream, second: Stream) -> tuple[Stream, Stream]:
    """The same two without the checksums which both state alike: bytes which are equal are sound in both, or damaged in both alike."""
    if first.checksums and first.checksums == second.checksums:
        return first.without_checksums(), second.without_checksums()
    return first, second


@dataclass(frozen=True, slots=True)
class _Streamed:
    """Parts which are made one by one, anew each time: all of them would not fit into memory."""

    evaluator: Evaluator
    recipe: Recipe

    def __iter__(self) -> Iterator[Part]:
        return iter(self.evaluator.parts(self.recipe))
