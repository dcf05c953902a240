"""What goes with a part whose values tell where it belongs: its shifts which are all zeros, its counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import torch

from ckpt_surgeon.comparison import fits
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.groups import Links
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["companions"]


def companions(known: Sequence[Strand], turned: Sequence[Links], samples: Samples, source: Header, target: Header) -> list[Links]:
    """Links for the mute tensors of parts which were turned, to the tensors of the same last name of the part to which these were.

    Only where these are equal to the target's, too, and nothing else takes them.
    """
    moved = _moved(turned)
    found = {strand: link for strand in known if (link := _companion(strand, moved)) and _holds(link, samples, source, target)}
    made = {key for links in turned for link in links for key in link.targets}
    staying = [strand for strand in known if made.isdisjoint(strand.targets) and strand.standing in ("mute", "equal")]
    fixed = Counter(key for links in turned for link in links for key in link.sources)
    while True:
        taken = fixed + Counter(key for strand in staying for key in (found[strand].sources if strand in found else strand.sources))
        clashing = [strand for strand, link in found.items() if taken[link.sources[0]] > 1]
        if not clashing:
            return [(link,) for link in found.values()]
        for strand in clashing:
            del found[strand]


def _moved(turned: Iterable[Links]) -> dict[str, str]:
    """The target's parts -> the source's, where all which is turned of one comes from one."""
    found: dict[str, set[str]] = defaultdict(set)
    for links in turned:
        for link in links:
            found[_parent(link.targets[0])].add(_parent(link.sources[0]))
    return {part: others.pop() for part, others in found.items() if part and len(others) == 1}


def _companion(strand: Strand, moved: dict[str, str]) -> Link | None:
    key, name = strand.targets[0], strand.sources[0]
    if strand.standing != "mute" or not strand.is_plain or _parent(key) not in moved:
        return None
    other = f"{moved[_parent(key)]}.{name.rpartition('.')[2]}"
    return Link((other,), (key,)) if other != name else None


def _holds(link: Link, samples: Samples, source: Header, target: Header) -> bool:
    """Whether both ends are there, fit, and hold the same."""
    name, key = link.sources[0], link.targets[0]
    given, wanted = source.entries.get(name), target.entries[key]
    if not isinstance(given, TensorSpec) or not isinstance(wanted, TensorSpec) or not fits(given, wanted):
        return False
    if given.dtype.is_packed or wanted.dtype.is_packed or not given.numel:
        return False
    return torch.equal(samples.given(name).double(), samples.wanted(key).double())


def _parent(key: str) -> str:
    return key.rpartition(".")[0]
