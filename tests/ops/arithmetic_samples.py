"""Samples of the ops which compute with tensors of one shape, for the laws."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from op_draws import Draw, Sample, shapes

from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import DTYPES, TensorSpec

__all__ = ["ARITHMETIC"]

# Noise in float16 computes to what float16 does not hold; shares of at most 1 in all stay within the other types.
_NOISY = st.sampled_from([DTYPES[name] for name in ("float32", "float64", "bfloat16")])


def alike(draw: Draw, count: int) -> tuple[TensorSpec, ...]:
    """Specs of one shape and type."""
    shape, dtype = draw(shapes), draw(_NOISY)
    return (TensorSpec(shape, dtype),) * count


def scale(draw: Draw) -> Sample:
    return Sample(OPS["scale"](by=draw(st.floats(-1, 1))), alike(draw, 1))


def add(draw: Draw) -> Sample:
    count = draw(st.integers(1, 4))
    weights = draw(st.lists(st.floats(-0.25, 0.25), min_size=count, max_size=count))
    return Sample(OPS["add"](weights=weights), alike(draw, count))


def average(draw: Draw) -> Sample:
    count = draw(st.integers(1, 3))
    weights = st.lists(st.integers(1, 3), min_size=count, max_size=count)
    return Sample(OPS["average"](weights=draw(st.none() | weights)), alike(draw, count))


def ema(draw: Draw) -> Sample:
    return Sample(OPS["ema"](decay=draw(st.floats(0, 1))), alike(draw, 2))


def task_vector(draw: Draw) -> Sample:
    count = draw(st.integers(1, 3))
    scales = st.lists(st.floats(-0.1, 0.1), min_size=count, max_size=count)
    return Sample(OPS["task_vector"](scales=draw(scales)), alike(draw, count + 1))


def slerp(draw: Draw) -> Sample:
    return Sample(OPS["slerp"](t=draw(st.floats(0, 1))), alike(draw, 2))


ARITHMETIC: dict[str, Callable[[Any], Sample]] = {
    "scale": scale,
    "add": add,
    "average": average,
    "ema": ema,
    "task_vector": task_vector,
    "slerp": slerp,
}
