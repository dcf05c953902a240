"""Whether both sides come of the same weights, so that what is unlike there is told by its values."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.spec import Header

__all__ = ["is_one_origin"]

_SHARE = 0.05  # of all elements, or of all tensors; tables which every model has (sines, index grids) are less
_FEWEST = 2  # tensors which differ from each other: one table may be held by every layer


def is_one_origin(equal: Sequence[Link], others: Sequence[str], samples: Samples, target: Header) -> bool:
    """Whether the tensors which are equal on both sides are too many to be so without a common past.

    equal: their links. others: the target's keys of those which are not. Most are enough; so is a share of the elements, or of the
    tensors where at least two of these differ.
    """
    keys = [key for link in equal for key in link.targets]
    if len(keys) > len(others):
        return True
    sizes = [sum(target.tensors[key].numel for key in each if key in target.tensors) for each in (keys, others)]
    if sizes[0] >= _SHARE * sum(sizes) and keys:
        return True
    if len(keys) < max(_FEWEST, _SHARE * (len(keys) + len(others))):
        return False
    return len({samples.wanted(key).double().numpy().tobytes() for key in keys}) >= _FEWEST
