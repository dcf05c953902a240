"""Tensors which training moved a little, found under whatever names: near one of their shape, and far from every other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf, sqrt

import torch
from torch import Tensor

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.samples import Samples, is_number
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header

__all__ = ["NearElsewhere", "near_elsewhere"]

_NEAR = 0.3  # of how far the elements of a tensor lie apart; strangers are 1.4 away
_FURTHER = 3.0  # so many times as far is the next best
_LEAST = 1e-6  # below that all are equally near
_CHANCE = 1e-6  # at most, that one of the strangers is as near
_MOST_PAIRS = 1 << 22  # distances which are held at once


@dataclass(frozen=True, slots=True)
class NearElsewhere:
    """What is nearer elsewhere. turned: links to the only one which is near; together they take nothing twice. asked: the rest."""

    turned: tuple[Link, ...]
    asked: tuple[Strand, ...]


@dataclass(frozen=True, slots=True)
class _Hit:
    """A strand whose target is nearer to `name` than to the source which it takes. is_sole: every other source is much further, too."""

    strand: Strand
    name: str
    is_sole: bool


def near_elsewhere(suspects: Sequence[Strand], free: Iterable[str], samples: Samples, source: Header, target: Header) -> NearElsewhere:
    """What of plain strands is near another source than theirs: one of theirs, or a free one of the same shape."""
    names: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in dict.fromkeys((*free, *(key for strand in suspects for key in strand.sources))):
        if is_number(source.entries.get(name)):
            names[source.tensors[name].shape].append(name)
    groups: dict[tuple[int, ...], list[Strand]] = defaultdict(list)
    for strand in suspects:
        if strand.is_plain and is_number(target.entries[strand.targets[0]]):
            groups[target.tensors[strand.targets[0]].shape].append(strand)
    hits = [hit for shape, strands in groups.items() for hit in _hits(strands, names[shape], samples)]
    turned = {hit.strand.targets: Link((hit.name,), hit.strand.targets) for hit in _once(hits, suspects)}
    return NearElsewhere(tuple(turned.values()), tuple(hit.strand for hit in hits if hit.strand.targets not in turned))


def _hits(strands: Sequence[Strand], names: Sequence[str], samples: Samples) -> Iterator[_Hit]:
    """Of strands of one shape. names: the sources of this shape which they may take."""
    if len(names) < 2:
        return
    places = {name: place for place, name in enumerate(names)}
    given = torch.stack([samples.given(name).double() for name in names])
    step = max(1, _MOST_PAIRS // len(names))
    for some in (strands[start : start + step] for start in range(0, len(strands), step)):
        gaps = _gaps(torch.stack([samples.wanted(strand.targets[0]).double() for strand in some]), given)
        for strand, row, nearest in zip(some, gaps, zip(*gaps.topk(2, largest=False), strict=True), strict=True):
            (best, next_best), (at, _) = (found.tolist() for found in nearest)
            least = _FURTHER * max(best, _LEAST)
            here = float(row[places[strand.sources[0]]]) if strand.sources[0] in places else inf
            if here >= least and _is_near(best, given.shape[1], len(names)):
                yield _Hit(strand, names[at], next_best >= least)


def _gaps(wanted: Tensor, given: Tensor) -> Tensor:
    """`[k, m], [n, m] -> [k, n]`: the distances in the spread of what is wanted; infinite where there is none."""
    wanted, given = _filled(wanted), _filled(given)
    center = wanted.mean()
    gaps = torch.cdist(wanted - center, given - center, compute_mode="use_mm_for_euclid_dist")
    spread = torch.linalg.vector_norm(wanted - wanted.mean(1, keepdim=True), dim=1, keepdim=True)
    found: Tensor = (gaps / spread).nan_to_num(inf, inf, inf)
    return torch.where(spread > 0, found, inf)


def _filled(rows: Tensor) -> Tensor:
    """The rows with the mean of their numbers in place of what is none, or infinite."""
    finite = torch.where(rows.isfinite(), rows, torch.nan)
    return torch.where(rows.isfinite(), rows, finite.nanmean(1, keepdim=True).nan_to_num(0.0))


def _is_near(gap: float, numel: int, count: int) -> bool:
    """Whether it is nearer than one of so many strangers may be: these lie anywhere in a ball of as many dimensions as elements."""
    return gap <= _NEAR and count * (gap / sqrt(2)) ** (numel - 1) <= _CHANCE


def _once(hits: Sequence[_Hit], suspects: Sequence[Strand]) -> list[_Hit]:
    """The sole hits which take no source which another one takes, or a strand which stays."""
    found = [hit for hit in hits if hit.is_sole]
    while True:
        moving = {hit.strand.targets for hit in found}
        times = Counter(key for strand in suspects if strand.targets not in moving for key in strand.sources)
        times.update(hit.name for hit in found)
        kept = [hit for hit in found if times[hit.name] == 1]
        if len(kept) == len(found):
            return found
        found = kept
