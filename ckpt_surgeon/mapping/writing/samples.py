"""Samples of families: concrete moves whose hunks are known, on which a replacement of a run is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.writing.alignment import Hunk, aligned
from ckpt_surgeon.mapping.writing.numbering import Numbered
from ckpt_surgeon.ops.replacing import Run

__all__ = ["Sample", "samples_of"]

_MOST = 6  # of a family: its numbers vary, and a run with a fixed one covers only some of them


@dataclass(frozen=True)
class Sample:
    """A move of family number `family`, its names in segments, and the hunks in which they differ."""

    family: int
    source: tuple[str, ...]
    target: tuple[str, ...]
    hunks: tuple[Hunk, ...]

    @cached_property
    def key(self) -> str:
        """The source's name."""
        return ".".join(self.source)

    @cached_property
    def _images(self) -> dict[int, tuple[int, ...]]:
        """Where a cut of the source's segments may cut the target's; cuts within a hunk are not there."""
        images: dict[int, tuple[int, ...]] = {}
        shift = 0
        at = 0
        for hunk in (*self.hunks, Hunk(len(self.source) + 1, len(self.source) + 1, 0, 0)):
            images |= {cut: (cut + shift,) for cut in range(at, hunk.start)}
            if hunk.start <= len(self.source):
                images[hunk.start] = (hunk.first,) if hunk.stop > hunk.start else (hunk.first, hunk.last)
                if hunk.stop > hunk.start:
                    images[hunk.stop] = (hunk.last,)
                shift = hunk.last - hunk.stop
                at = hunk.stop + 1
        return images

    def image(self, run: Run) -> tuple[int, int] | None:
        """The target's segments which the run puts in, where it is right; None where it is not."""
        parts = tuple(run.text.split(".")) if run.text else ()
        for first in self._images.get(run.start, ()):
            for last in reversed(self._images.get(run.stop, ())):
                if self.target[first:last] == parts and first <= last:
                    return first, last
        return None

    def covered(self, run: Run, image: tuple[int, int]) -> list[int]:
        """The numbers of the hunks which a right run takes care of."""
        first, last = image
        return [
            at
            for at, hunk in enumerate(self.hunks)
            if run.start <= hunk.start and hunk.stop <= run.stop and first <= hunk.first and hunk.last <= last
        ]

    def without(self, runs: Sequence[Run]) -> str:
        """The target's name, but with the source's own text where one of the runs would be right."""
        parts = list(self.target)
        for run in reversed(runs):
            image = self.image(run)
            if image is not None:
                parts[image[0] : image[1]] = self.source[run.start : run.stop]
        return ".".join(parts)

    def is_forgiven(self, run: Run, *, is_literal: bool) -> bool:
        """Whether a wrong run does no harm: a hunk begins before it or is longer, so that another run is taken there."""
        for hunk in self.hunks:
            if hunk.start < run.start < hunk.stop or (hunk.start == run.start and hunk.stop > run.stop):
                return True
            if (hunk.start, hunk.stop) == (run.start, run.stop) and not is_literal:
                return True
        return False

    def is_rival(self, run: Run) -> bool:
        """Whether a wrong run is a hunk of its own here, which a longer run may take care of."""
        return any((hunk.start, hunk.stop) == (run.start, run.stop) for hunk in self.hunks)


def samples_of(families: Sequence[Numbered]) -> list[Sample]:
    """Some moves of each family, its first and last among them."""
    return [
        Sample(number, tuple(key.split(".")), tuple(place.split(".")), aligned(family.source, family.target))
        for number, family in enumerate(families)
        for key, place in _some(family.moves)
    ]


def _some(moves: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    if len(moves) <= _MOST:
        yield from moves
        return
    yield from (moves[at * (len(moves) - 1) // (_MOST - 1)] for at in range(_MOST))
