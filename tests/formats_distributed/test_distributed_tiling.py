"""Chunks tile a tensor, or they are refused: judged by counting how often each element is covered."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.distributed_tiling import require_tiling
from ckpt_surgeon.spec import TensorSpec


def tiles(shape, boxes) -> bool:
    counts = np.zeros(shape, int)
    for offsets, sizes in boxes:
        counts[tuple(slice(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True))] += 1
    return bool((counts == 1).all())


@st.composite
def tilings(draw):
    """A shape and boxes: a grid by random cuts, of which some boxes may be cut once more, in any order."""
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=3))
    edges = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    spans = [list(pairwise(edge)) for edge in edges]
    boxes = [(tuple(start for start, _ in cell), tuple(end - start for start, end in cell)) for cell in product(*spans)]
    return tuple(shape), draw(st.permutations(boxes))


@st.composite
def mistakes(draw):
    """A tiling of which one box was moved, resized, doubled or left out."""
    shape, boxes = draw(tilings())
    at = draw(st.integers(0, len(boxes) - 1))
    offsets, sizes = boxes[at]
    kind = draw(st.sampled_from(["moved", "resized", "doubled", "left out"]))
    if kind in ("doubled", "left out") or not shape:
        return shape, [*boxes, boxes[at]] if kind == "doubled" else boxes[:at] + boxes[at + 1 :]
    dim = draw(st.integers(0, len(shape) - 1))
    moved = tuple(draw(st.integers(0, shape[dim])) if each == dim else offset for each, offset in enumerate(offsets))
    resized = tuple(draw(st.integers(1, shape[dim])) if each == dim else size for each, size in enumerate(sizes))
    box = (moved, sizes) if kind == "moved" else (offsets, resized)
    return shape, [*boxes[:at], box, *boxes[at + 1 :]]


@given(tilings())
def test_what_covers_each_element_once_is_accepted(case):
    shape, boxes = case
    require_tiling("w", TensorSpec.of("float32", *shape), boxes)


@given(mistakes())
def test_what_does_not_is_refused(case):
    shape, boxes = case
    is_within = all(offset + size <= limit for offsets, sizes in boxes for offset, size, limit in zip(offsets, sizes, shape, strict=True))
    if is_within and tiles(shape, boxes):
        require_tiling("w", TensorSpec.of("float32", *shape), boxes)
        return
    with pytest.raises(CorruptError):
        require_tiling("w", TensorSpec.of("float32", *shape), boxes)


def test_a_thousand_rows_and_a_thousand_columns_are_quickly_checked():
    grid = [((row, column), (1, 1)) for row in range(1000) for column in range(4)]
    require_tiling("w", TensorSpec.of("float32", 1000, 4), grid)


def test_a_cut_which_takes_too_long_to_check_is_over_a_limit(monkeypatch):
    monkeypatch.setattr("ckpt_surgeon.formats.distributed_tiling._MAX_COMPARISONS", 1)
    with pytest.raises(LimitError, match="too long"):
        require_tiling("w", TensorSpec.of("float32", 2, 2), [((row, column), (1, 1)) for row in (0, 1) for column in (0, 1)])
