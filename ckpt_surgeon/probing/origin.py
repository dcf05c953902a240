"""Whether both sides come of the same weights, so that what is unlike there is told by its values."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.spec import Header

__all__ = ["is_one_origin"]

_SHARE = 0.05  # of all elements, or of all tensors; tables which every model has (sines, index grids) are less
_FEWEST = 2  # tensors; one table may be held by every layer


def is_one_origin(equal: Sequence[Link], others: Sequence[str], samples: Samples, target: Header) -> bool:
    """Whether the tensors which are equal on both sides are too many to be so without a common past.

    equal: their links. others: the target's keys of those which are not. Those are counted once which hold the same. Most are enough;
    so is a share of the elements, or of the tensors where these are at least two.
    """
    keys = [key for link in equal for key in link.targets if key in target.tensors]  # an op in two steps has others between
    own = {samples.wanted(key).double().numpy().tobytes(): key for key in keys}
    count = len(own)
    if count > len(others):
        return True
    sizes = [sum(target.tensors[key].numel for key in some if key in target.tensors) for some in (own.values(), others)]
    is_share = bool(count) and sizes[0] >= _SHARE * sum(sizes)
    return is_share or count >= max(_FEWEST, _SHARE * (count + len(others)))
