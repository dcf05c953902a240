"""Norms of a target as it was built, whose constants speak against the names: ones where a shift would come, zeros where a scale would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ckpt_surgeon.probing.leftovers import constant_kind, trained_kind
from ckpt_surgeon.probing.samples import Samples, is_number
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header

__all__ = ["contradicted"]


def contradicted(suspects: Sequence[Strand], samples: Samples, source: Header, target: Header) -> list[Strand]:
    """The scales and shifts which look like each other's, where both of one part do: a scale which starts at zero is no contradiction."""
    found: dict[str, dict[str, Strand]] = defaultdict(dict)
    for strand in suspects:
        key, name = strand.targets[0], strand.sources[0]
        if strand.standing != "unlike" or not strand.is_plain or not is_number(source.entries[name]) or not is_number(target.entries[key]):
            continue
        fresh = constant_kind(samples.wanted(key))
        if fresh in ("scale", "shift") and trained_kind(samples.given(name)) not in (None, fresh):
            found[key.rpartition(".")[0]][fresh] = strand
    return [strand for part in found.values() if len(part) == 2 for strand in part.values()]
