"""What the samples of ops are drawn from: shapes, types, dims; and what a sample is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.spec import DTYPES, DType, TensorSpec

WEIGHTS = [dtype for dtype in DTYPES.values() if dtype.is_float and dtype.signed]
REAL_WEIGHTS = [dtype for dtype in WEIGHTS if not dtype.is_complex]
VALUED = [dtype for dtype in DTYPES.values() if not dtype.is_packed]
TYPES = [dtype for dtype in DTYPES.values() if hasattr(torch, dtype.name)]


@dataclass(frozen=True)
class Sample:
    """An op, bound, and inputs which it takes."""

    op: TensorOp
    specs: tuple[TensorSpec, ...]


Draw = Callable[[st.SearchStrategy[Any]], Any]
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
sizes = st.integers(0, 4)


def at_least(rank: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(sizes, min_size=rank, max_size=4).map(tuple)


def types(among: list[DType] = TYPES) -> st.SearchStrategy[DType]:
    return st.sampled_from([dtype for dtype in among if dtype in TYPES])


def signed(draw: Draw, dim: int, rank: int) -> int:
    """The same dim, counted from either end."""
    return draw(st.sampled_from([dim, dim - rank]))
