"""Whether chunks tile a tensor: each element in exactly one of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Box", "require_tiling"]

# (offsets, sizes), an entry for each dim, in elements.
Box = tuple[tuple[int, ...], tuple[int, ...]]

# Meshes of devices cut a tensor into a grid, which compares few chunks with few.
_MAX_COMPARISONS: Final = 10_000_000


def require_tiling(key: str, spec: TensorSpec, boxes: Sequence[Box]) -> None:
    """CorruptError unless the boxes lie in the tensor and each element in exactly one; LimitError when that takes too long to tell."""
    for offsets, sizes in boxes:
        if not len(offsets) == len(sizes) == len(spec.shape):
            raise CorruptError(f"{key!r} is {spec}, and a chunk has {len(offsets)} offsets and {len(sizes)} sizes")
        if any(offset + size > limit for offset, size, limit in zip(offsets, sizes, spec.shape, strict=True)):
            raise CorruptError(f"{key!r} is {spec}, and its chunk {list(sizes)} at {list(offsets)} reaches out of it")
    total = sum(prod(sizes) for _, sizes in boxes)
    if total != spec.numel:
        raise CorruptError(f"{key!r} is {spec} of {spec.numel:,} elements, and its chunks have {total:,}")
    if len(boxes) > 1:
        _require_disjoint(key, boxes)


def _require_disjoint(key: str, boxes: Sequence[Box]) -> None:
    """Sweep along the dim with the most cuts: only boxes which meet there are compared."""
    dim = max(range(len(boxes[0][0])), key=lambda dim: len({offsets[dim] for offsets, _ in boxes}))
    open_boxes: list[Box] = []
    comparisons = 0
    for box in sorted(boxes, key=lambda box: box[0][dim]):
        start = box[0][dim]
        open_boxes = [other for other in open_boxes if other[0][dim] + other[1][dim] > start]
        comparisons += len(open_boxes)
        if comparisons > _MAX_COMPARISONS:
            raise LimitError(f"{key!r} is cut into {len(boxes):,} chunks in a way which takes too long to check")
        if any(_overlap(box, other) for other in open_boxes):
            raise CorruptError(f"two chunks of {key!r} overlap at {list(box[0])}")
        open_boxes.append(box)


def _overlap(first: Box, second: Box) -> bool:
    return all(
        start < other + other_size and other < start + size
        for start, size, other, other_size in zip(first[0], first[1], second[0], second[1], strict=True)
    )
