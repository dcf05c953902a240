"""What goes with a part whose values tell where it belongs: its shifts which are all zeros, its counts, what training made of the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ckpt_surgeon.comparison import fits
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.groups import Links
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["companions", "torn"]


def companions(known: Sequence[Strand], turned: Sequence[Links], samples: Samples, source: Header, target: Header) -> list[Links]:
    """Links for the rest of parts which were turned, to the tensors of the same last name of the part to which these were.

    Only where these are no further from the target's than those are which names say, and nothing else takes them.
    """
    moved = _moved(turned)
    made = {key for links in turned for link in links for key in link.targets}
    staying = [strand for strand in known if made.isdisjoint(strand.targets)]
    found = {strand: link for strand in staying if (link := _companion(strand, moved)) and _holds(link, strand, samples, source, target)}
    fixed = Counter(key for links in turned for link in links for key in link.sources)
    while True:
        taken = fixed + Counter(key for strand in staying for key in (found[strand].sources if strand in found else strand.sources))
        clashing = [strand for strand, link in found.items() if taken[link.sources[0]] > 1]
        if not clashing:
            return [(link,) for link in found.values()]
        for strand in clashing:
            del found[strand]


def torn(known: Sequence[Strand], turned: Sequence[Links]) -> list[Strand]:
    """What is not equal and stays, though all which is turned of its part comes from another one."""
    moved = _moved(turned)
    made = {key for links in turned for link in links for key in link.targets}
    left = [strand for strand in known if strand.standing in ("near", "unlike") and made.isdisjoint(strand.targets)]
    return [strand for strand in left if moved.get(part := _parent(strand.targets[0])) not in (None, part, _parent(strand.sources[0]))]


def _moved(turned: Iterable[Links]) -> dict[str, str]:
    """The target's parts -> the source's, where all which is turned of one comes from one."""
    found: dict[str, set[str]] = defaultdict(set)
    for links in turned:
        for link in links:
            found[_parent(link.targets[0])].add(_parent(link.sources[0]))
    return {part: others.pop() for part, others in found.items() if part and len(others) == 1}


def _companion(strand: Strand, moved: dict[str, str]) -> Link | None:
    key, name = strand.targets[0], strand.sources[0]
    if strand.standing == "equal" or not strand.is_plain or _parent(key) not in moved:
        return None
    other = f"{moved[_parent(key)]}.{name.rpartition('.')[2]}"
    return Link((other,), (key,)) if other != name else None


def _holds(link: Link, strand: Strand, samples: Samples, source: Header, target: Header) -> bool:
    """Whether both ends are there, fit, and are no further apart than those which names say."""
    name, key = link.sources[0], link.targets[0]
    given, wanted = source.entries.get(name), target.entries[key]
    if not isinstance(given, TensorSpec) or not isinstance(wanted, TensorSpec) or not fits(given, wanted):
        return False
    if given.dtype.is_packed or wanted.dtype.is_packed or not given.numel:
        return False
    there, here = (_apart(samples.given(each), samples.wanted(key)) for each in (name, strand.sources[0]))
    return there <= here


def _apart(found: Tensor, wanted: Tensor) -> float:
    wide = torch.complex128 if found.is_complex() or wanted.is_complex() else torch.float64
    first, second = found.flatten().to(wide), wanted.flatten().to(wide)
    return float(torch.linalg.vector_norm(torch.where(first == second, 0.0, first - second)))


def _parent(key: str) -> str:
    return key.rpartition(".")[0]
