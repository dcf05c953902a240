"""Whether a source's entry may stand for a target's, and which entries need no source."""

from __future__ import annotations

from collections.abc import Collection

from ckpt_surgeon.spec import Entry, Header, Opaque, TensorSpec

__all__ = ["fills_itself", "fits"]


def fits(source: Entry, target: Entry) -> bool:
    """Whether a source entry may stand for a target entry: equal shapes, or `[1]` and `[]`."""
    if isinstance(source, Opaque) or isinstance(target, Opaque):
        return isinstance(source, Opaque) and isinstance(target, Opaque)
    return source.shape == target.shape or {source.shape, target.shape} == {(), (1,)}


def fills_itself(key: str, target: Header, present: Collection[str]) -> bool:
    """Whether torch fills this target buffer when a file written before it existed lacks it.

    It is `num_batches_tracked` of a batch norm whose `running_mean` is there.
    Source: torch.nn.modules.batchnorm._NormBase._load_from_state_dict.
    """
    module, dot, leaf = key.rpartition(".")
    entry = target.entries[key]
    is_counter = leaf == "num_batches_tracked" and isinstance(entry, TensorSpec) and entry.numel == 1
    return is_counter and f"{module}{dot}running_mean" in present
