"""Samples of the ops which inflate, flatten, decimate and resample."""

from hypothesis import strategies as st
from op_draws import REAL_WEIGHTS, WEIGHTS, Draw, Sample, shapes, signed, sizes, types

from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import TensorSpec

sides = st.integers(1, 4)
grids = st.tuples(sides, sides)


def inflate(draw: Draw) -> Sample:
    shape = draw(shapes)
    rank = len(shape) + 1
    dim = signed(draw, draw(st.integers(0, rank - 1)), rank)
    op = OPS["inflate"](draw(st.sampled_from(["mean", "centre"])), draw(sides), dim)
    return Sample(op, (TensorSpec(shape, draw(types(WEIGHTS))),))


def collapse(draw: Draw) -> Sample:
    shape = list(draw(shapes))
    dim = draw(st.integers(0, len(shape)))
    shape.insert(dim, draw(sides))
    return Sample(OPS["collapse"](signed(draw, dim, len(shape))), (TensorSpec(tuple(shape), draw(types(WEIGHTS))),))


def linear_to_conv(draw: Draw) -> Sample:
    kernel = draw(st.lists(sides, min_size=1, max_size=3).map(tuple))
    out, channels = draw(sizes), draw(sizes)
    features = channels
    for size in kernel:
        features *= size
    op = OPS["linear_to_conv"](draw(st.sampled_from(["chw", "hwc"])), kernel)
    return Sample(op, (TensorSpec((out, features), draw(types())),))


def conv_to_linear(draw: Draw) -> Sample:
    shape = draw(st.lists(sizes, min_size=3, max_size=5).map(tuple))
    return Sample(OPS["conv_to_linear"](draw(st.sampled_from(["chw", "hwc"]))), (TensorSpec(shape, draw(types())),))


def decimate(draw: Draw) -> Sample:
    shape = draw(shapes)
    steps = draw(st.lists(st.one_of(st.none(), sides), min_size=len(shape), max_size=len(shape)))
    return Sample(OPS["decimate"](steps), (TensorSpec(shape, draw(types())),))


def resample_patch_embed(draw: Draw) -> Sample:
    op = OPS["resample_patch_embed"](draw(grids), draw(st.sampled_from(["bicubic", "bilinear"])), draw(st.booleans()))
    return Sample(op, (TensorSpec((draw(sides), draw(sides), *draw(grids)), draw(types(REAL_WEIGHTS))),))


def resample_pos_embed(draw: Draw) -> Sample:
    old, new = draw(grids), draw(grids)
    prefix = draw(st.integers(0, 2))
    stated = "square" if old[0] == old[1] and draw(st.booleans()) else old
    how = {"interpolation": draw(st.sampled_from(["bicubic", "bilinear"])), "antialias": draw(st.booleans())}
    kept = draw(st.one_of(st.none(), st.integers(0, prefix)))
    op = OPS["resample_pos_embed"](stated, draw(st.sampled_from([old, new])), prefix, kept, **how)
    table = (old[0] * old[1] + prefix, draw(sides))
    return Sample(op, (TensorSpec(draw(st.sampled_from([table, (1, *table)])), draw(types(REAL_WEIGHTS))),))


def resample_rel_pos_bias(draw: Draw) -> Sample:
    old, new = draw(grids), draw(grids)
    extra = draw(st.sampled_from([0, 3]))
    stated = "square" if old[0] == old[1] and draw(st.booleans()) else old
    op = OPS["resample_rel_pos_bias"](draw(st.sampled_from(["bicubic", "geometric"])), stated, draw(st.sampled_from([old, new])), extra)
    rows = (2 * old[0] - 1) * (2 * old[1] - 1) + extra
    return Sample(op, (TensorSpec((rows, draw(sides)), draw(types(REAL_WEIGHTS))),))


def resample_positions(draw: Draw) -> Sample:
    mode, keep, rows = draw(st.sampled_from(["slice", "linear", "repeat", "zero"])), draw(st.integers(0, 2)), draw(sides)
    fewer, more = st.integers(1, rows), st.integers(rows, 3 * rows)
    wanted = draw({"slice": fewer, "linear": st.one_of(fewer, more)}.get(mode, more))
    op = OPS["resample_positions"](mode, keep + wanted, keep, draw(st.booleans()) if mode == "linear" else None)
    table = (keep + rows, draw(sides))
    return Sample(op, (TensorSpec(draw(st.sampled_from([table, (1, *table)])), draw(types(REAL_WEIGHTS))),))


RESAMPLING = (
    inflate,
    collapse,
    linear_to_conv,
    conv_to_linear,
    decimate,
    resample_patch_embed,
    resample_pos_embed,
    resample_rel_pos_bias,
    resample_positions,
)
