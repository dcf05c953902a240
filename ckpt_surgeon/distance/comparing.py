"""The values of each pair of tensors which a diff matched: first their bytes, and only where those differ, numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ckpt_surgeon.comparison import Diff, Distance, Values
from ckpt_surgeon.distance.streams import Stream, trusting
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import Draft, sources_of
from ckpt_surgeon.planning.table import Cell, Table, initial_table
from ckpt_surgeon.sources import Progress
from ckpt_surgeon.spec import Opaque, TensorSpec

__all__ = ["compare_values"]

# Compared at once: smaller pieces cost calls, larger ones fall out of the cache. A multiple of every element's size.
_PIECE_BYTES: Final = 256 * 1024
# Computed with at once: what some ten float64 tensors may have to stay in the cache, and too few, complex ones too, for torch to share
# them out among threads, whose waiting for each other costs ten times the work.
_PIECE_ELEMENTS: Final = 16 * 1024

_OPAQUE = "it is no plain tensor"
_NEW = "it reads no weight of the source"


def compare_values(diff: Diff, draft: Draft, sources: Mapping[str, Reader], target: Reader, progress: Progress | None = None) -> Values:
    """Compare the values of the tensors which `diff` matched; tensors which are tied on both sides once.

    draft: what the rules made of the sources. sources: alias (empty: the main one) -> the open source.
    progress: called with (bytes done, bytes in all).
    Memory: a few pieces, and of a tensor which is computed, or does not lie in its file as it is, the whole.
    Raises what reading raises.
    """
    pairs = _pairs(diff, draft.table, initial_table(target.header))
    new = frozenset(draft.new)
    skipped = {key: reason for key, pair in pairs.items() if (reason := _hindrance(key, pair, new))}
    sides = _Sides(Evaluator(sources), Evaluator({"": target}))
    found: dict[str, Distance | None] = {}
    done, total = 0, sum(_spec(pair[1]).nbytes for key, pair in pairs.items() if key not in skipped)
    for key, pair in pairs.items():
        if key in skipped:
            continue
        found[key] = sides.distance(*pair)
        done += _spec(pair[1]).nbytes
        if progress is not None:
            progress(done, total)
    different = {key: distance for key, distance in found.items() if distance is not None}
    return Values(
        equal=tuple(key for key in found if key not in different),
        different=dict(sorted(different.items(), key=lambda item: item[1].rank, reverse=True)),
        skipped=skipped,
        nbytes=total,
    )


_Pair = tuple[Cell, Cell]


def _pairs(diff: Diff, table: Table, target: Table) -> dict[str, _Pair]:
    """The matched keys and what stands for them, each pair of tensors under its first name."""
    firsts: dict[object, str] = {}
    pairs: dict[str, _Pair] = {}
    for key in diff.matched:
        if key not in table:  # a tied name of the target; the name which stands for it is there, too
            continue
        pair = table[key], target[key]
        if firsts.setdefault((pair[0].identity, pair[1].identity), key) == key:
            pairs[key] = pair
    return pairs


def _hindrance(key: str, pair: _Pair, new: Collection[str]) -> str:
    """Why two entries cannot be compared; empty where they can."""
    source, target = (cell.recipe.spec for cell in pair)
    if isinstance(source, Opaque) or isinstance(target, Opaque):
        return _OPAQUE
    if key in new or any(part.is_initial for part in sources_of(pair[0].recipe)):
        return _NEW
    if source.dtype != target.dtype and (source.dtype.is_packed or target.dtype.is_packed):
        return f"{source.dtype} and {target.dtype} have no values in common"
    return ""


def _spec(cell: Cell) -> TensorSpec:
    spec = cell.recipe.spec
    assert isinstance(spec, TensorSpec)  # opaque entries were left out before
    return spec


@dataclass(frozen=True, slots=True)
class _Sides:
    """What turns the recipes of source and target into bytes."""

    source: Evaluator
    target: Evaluator

    def distance(self, source: Cell, target: Cell) -> Distance | None:
        """How far two tensors are apart; None where no element differs."""
        specs = _spec(source), _spec(target)
        streams = Stream.of(self.source, source.recipe), Stream.of(self.target, target.recipe)
        if specs[0].dtype == specs[1].dtype and all(a == b for a, b in _pieces(trusting(*streams), (_PIECE_BYTES, _PIECE_BYTES))):
            return None
        from ckpt_surgeon.distance.tally import Tally

        tally = Tally(specs[0].dtype, specs[1].dtype)
        for a, b in _pieces(streams, (_PIECE_ELEMENTS * specs[0].dtype.itemsize, _PIECE_ELEMENTS * specs[1].dtype.itemsize)):
            tally.add(a, b)
        found = tally.distance
        return found if found.differing else None


def _pieces(streams: tuple[Stream, Stream], nbytes: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The pieces of both tensors, side by side."""
    return zip(streams[0].pieces(nbytes[0]), streams[1].pieces(nbytes[1]), strict=True)
