"""Samples of the ops which take, pack, pad and repeat rows, for the laws."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from op_draws import VALUED, WEIGHTS, Draw, Sample, shapes, signed, sizes, types

from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import DType, TensorSpec

__all__ = ["ROWS"]

few = st.integers(1, 3)


def along(draw: Draw, rows: list[int], dtype: DType | None = None) -> tuple[int, tuple[TensorSpec, ...]]:
    """A dim, and inputs which are alike but for these sizes there."""
    shape, dtype = draw(shapes), dtype or draw(types())
    dim = draw(st.integers(0, len(shape)))
    return signed(draw, dim, len(shape) + 1), tuple(TensorSpec((*shape[:dim], size, *shape[dim:]), dtype) for size in rows)


def interleave(draw: Draw) -> Sample:
    groups, parts = draw(few), draw(st.lists(sizes, min_size=1, max_size=3))
    dim, specs = along(draw, [groups * part for part in parts])
    return Sample(OPS["interleave"](groups=groups, dim=dim), specs)


def deinterleave(draw: Draw) -> Sample:
    groups, parts, unit = draw(few), draw(st.lists(sizes, min_size=1, max_size=3)), draw(few)
    by_sizes = draw(st.booleans())
    dim, specs = along(draw, [groups * unit * (sum(parts) if by_sizes else len(parts))])
    op = OPS["deinterleave"](groups=groups, dim=dim, sizes=parts if by_sizes else None)
    return Sample(op.bind(len(parts), None), specs)


def slice_(draw: Draw) -> Sample:
    size = draw(sizes)
    start = draw(st.integers(-size, size))
    stop = draw(st.one_of(st.none(), st.integers(start % size if size and start < size else start, size)))
    dim, specs = along(draw, [size])
    return Sample(OPS["slice"](dim=dim, start=start, stop=stop, step=draw(few)), specs)


def take(draw: Draw) -> Sample:
    size = draw(few)
    indices = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))
    dim, specs = along(draw, [size])
    return Sample(OPS["take"](indices=[*indices, f"{indices[0]}-{size - 1}"], dim=dim), specs)


def pad(draw: Draw) -> Sample:
    dtype = draw(types([dtype for dtype in VALUED if dtype.has_zero]))
    dim, specs = along(draw, [draw(sizes)], dtype)
    value = draw(st.sampled_from([0, 1, 1.0] if dtype.name == "bool" or not dtype.is_float else [0, -1, 0.5, -0.0]))
    return Sample(OPS["pad"](dim=dim, before=draw(sizes), after=draw(few), value=value), specs)


def region(draw: Draw) -> Sample:
    before, part, after = (draw(st.lists(sizes, min_size=2, max_size=2)) for _ in range(3))
    base = TensorSpec(tuple(map(sum, zip(before, part, after, strict=True))), draw(types()))
    return Sample(OPS["region"](start=before), (base, TensorSpec(tuple(part), base.dtype)))


def rope_permute(draw: Draw) -> Sample:
    heads, pairs, rest = draw(few), draw(few), draw(st.sampled_from([0, 1, 2]))
    dim, specs = along(draw, [heads * (2 * pairs + rest)])
    layouts = draw(st.permutations(["interleaved", "half"]))
    rotary_dim = 2 * pairs if rest else draw(st.sampled_from([None, 2 * pairs]))
    return Sample(OPS["rope_permute"](heads, *layouts, dim=dim, rotary_dim=rotary_dim), specs)


def mha_to_gqa(draw: Draw) -> Sample:
    heads, copies = draw(few), draw(few)
    dim, specs = along(draw, [heads * copies * draw(sizes)], draw(types(WEIGHTS)))
    return Sample(OPS["mha_to_gqa"](heads=heads * copies, kv_heads=heads, dim=dim), specs)


def gqa_to_mha(draw: Draw) -> Sample:
    heads, copies = draw(few), draw(few)
    dim, specs = along(draw, [heads * draw(sizes)])
    return Sample(OPS["gqa_to_mha"](heads=heads * copies, kv_heads=heads, dim=dim), specs)


def rearrange(draw: Draw) -> Sample:
    a, b, c, d = (draw(sizes) for _ in range(4))
    cases = [
        ("(a b) c -> a b c", {"a": max(a, 1)}, (max(a, 1) * b, c)),
        ("(a b c) d -> (b a c) d", {"a": max(a, 1), "c": max(c, 1)}, (max(a, 1) * b * max(c, 1), d)),
        ("a 1 (b c) -> c (b a) 1", {"c": max(c, 1)}, (a, 1, b * max(c, 1))),
        ("a ... b -> b ... a", {}, (a, c, d, b)),
        ("... -> ...", {}, (a, b)),
        ("a b -> (b a)", {}, (a, b)),
    ]
    pattern, axes, shape = draw(st.sampled_from(cases))
    return Sample(OPS["rearrange"](pattern, axes), (TensorSpec(shape, draw(types())),))


ROWS: dict[str, Callable[[Any], Sample]] = {
    "interleave": interleave,
    "deinterleave": deinterleave,
    "slice": slice_,
    "take": take,
    "pad": pad,
    "region": region,
    "rope_permute": rope_permute,
    "mha_to_gqa": mha_to_gqa,
    "gqa_to_mha": gqa_to_mha,
    "rearrange": rearrange,
}
