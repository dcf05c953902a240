"""Rows taken, padded, written in and rearranged against numpy and einops, to the bit, in types of every kind; and blocks in plans."""

from collections.abc import Callable
from typing import Any

import einops
import numpy as np
import pytest
import torch
from op_samples import bytes_of, spec_of, strided, tensor_of

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules import as_rules
from ckpt_surgeon.spec import DTYPES, Header, TensorSpec

NAMES = ["float32", "bfloat16", "float64", "int64", "uint16", "bool", "complex64", "complex32", "float8_e4m3fn", "uint8"]
TYPES = [DTYPES[name] for name in NAMES]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


def op(name: str, **parameters: Any) -> TensorOp:
    made: TensorOp = OPS[name](**parameters)
    return made


def written(base: Numbers, part: Numbers, at: tuple[slice, ...]) -> Numbers:
    base = base.copy()
    base[at] = part
    return base


# an op, the shapes of its inputs, what is made of the numbers of their elements
MOVES: list[tuple[TensorOp, list[tuple[int, ...]], Callable[[list[Numbers]], Numbers]]] = [
    (op("slice", start=1, stop=-1), [(5, 3)], lambda x: x[0][1:-1]),
    (op("slice", dim=-1, start=1, step=3), [(2, 8)], lambda x: x[0][:, 1::3]),
    (op("slice", start=5), [(5, 3)], lambda x: x[0][5:]),
    (op("take", indices=[4, "0-2", 0]), [(5, 3)], lambda x: x[0][[4, 0, 1, 2, 0]]),
    (op("take", indices="1-2", dim=1), [(2, 3, 2)], lambda x: x[0][:, 1:3]),
    (op("region", start=[1, 2]), [(4, 5), (2, 3)], lambda x: written(*x, (slice(1, 3), slice(2, 5)))),
    (op("region", start=[2, 0]), [(4, 5), (1, 5)], lambda x: written(*x, (slice(2, 3), slice(None)))),
    (op("region", start=[0, 0]), [(2, 2), (2, 2)], lambda x: x[1]),
    (op("region", start=[0, 1]), [(1, 4), (1, 2)], lambda x: written(*x, (slice(None), slice(1, 3)))),
    (op("interleave", groups=2), [(4, 3), (2, 3)], lambda x: np.concatenate([x[0][:2], x[1][:1], x[0][2:], x[1][1:]])),
    (op("interleave", groups=3, dim=1), [(2, 3)] * 2, lambda x: np.stack(x, -1).reshape(2, 6)),
    *(
        (
            op("rearrange", pattern=pattern, axes=axes),
            [shape],
            lambda x, pattern=pattern, axes=axes: einops.rearrange(x[0], pattern, **axes),
        )
        for pattern, axes, shape in [
            ("(h d) i -> h d i", {"h": 2}, (6, 2)),
            ("(h t d) i -> (t h d) i", {"h": 2, "t": 3}, (12, 2)),
            ("o (kh kw i) -> o i kh kw", {"kh": 2, "kw": 2}, (3, 12)),
            ("b ... c -> c ... b", {}, (2, 3, 2, 2)),
            ("a 1 b -> (b a) 1 1", {}, (2, 1, 3)),
        ]
    ),
]
every_move = pytest.mark.parametrize(("made", "shapes", "judge"), MOVES, ids=[f"{made.name} {made.parameters()}" for made, _, _ in MOVES])


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@every_move
def test_elements_go_where_numpy_and_einops_take_them(made: TensorOp, shapes: Any, judge: Any, dtype: Any) -> None:
    tensors = tuple(tensor_of(TensorSpec(shape, dtype), seed) for seed, shape in enumerate(shapes))
    starts = np.cumsum([0, *(tensor.numel() for tensor in tensors)])
    wanted = judge([np.arange(tensor.numel()).reshape(tensor.shape) + start for tensor, start in zip(tensors, starts, strict=False)])
    raw, size = b"".join(map(bytes_of, tensors)), dtype.itemsize
    for inputs in (tensors, tuple(map(strided, tensors))):
        (found,) = made.apply(inputs)
        assert spec_of(found) == TensorSpec(wanted.shape, dtype)
        assert bytes_of(found) == b"".join(raw[at * size : (at + 1) * size] for at in wanted.ravel().tolist())


@pytest.mark.parametrize("dtype", [dtype for dtype in TYPES if dtype.is_float and dtype.itemsize > 1], ids=str)
@pytest.mark.parametrize("dim", [0, 1])
def test_pad_is_the_pad_of_numpy_to_the_bit(dtype: Any, dim: int) -> None:
    tensor = tensor_of(TensorSpec((2, 3), dtype))
    (found,) = op("pad", dim=dim, before=1, after=2, value=0.5).apply((tensor,))
    places = np.pad(np.arange(6).reshape(2, 3), [(1, 2) if i == dim else (0, 0) for i in range(2)], constant_values=6)
    raw = bytes_of(tensor) + bytes_of(torch.tensor([0.5]).to(tensor.dtype))
    assert bytes_of(found) == b"".join(raw[at * dtype.itemsize : (at + 1) * dtype.itemsize] for at in places.ravel().tolist())


VALUES = [
    ("float16", 65504, True),
    ("float16", 65520, False),
    ("float16", 1e-9, False),
    ("bfloat16", 1e38, True),
    ("float32", 1e39, False),
    ("float8_e4m3fn", 448, True),
    ("float8_e4m3fn", 480, False),
    ("float8_e4m3fn", 1e-4, False),
    ("float8_e4m3fn", 2**-9, True),
    ("float8_e5m2", 57344, True),
    ("uint8", 255, True),
    ("uint8", -1, False),
    ("int8", -128, True),
    ("bool", 1, True),
    ("bool", 2, False),
    ("int64", 2**63 - 1, True),
    ("int64", 0.5, False),
]


@pytest.mark.parametrize(("name", "value", "is_held"), VALUES)
def test_pad_takes_a_value_which_the_type_holds_and_no_other(name: str, value: Any, is_held: bool) -> None:
    made, spec = op("pad", after=1, value=value), TensorSpec.of(name, 1)
    if not is_held:
        with pytest.raises(RulesError, match="cannot hold"):
            made.infer((spec,))
        return
    (found,) = made.apply((tensor_of(spec),))
    last = found[1].double().item() if spec.dtype.is_float else found[1].item()
    assert abs(last - value) <= abs(value) * 2**-7


def test_the_rows_which_pad_set_are_those_which_its_inverse_takes_away() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    made = op("pad", before=2, after="target").bind(1, (TensorSpec.of("float32", 7, 3),))
    back = made.inverse((spec_of(tensor),))
    assert back is not None
    assert torch.equal(back.apply(made.apply((tensor,)))[0], tensor)


def test_a_grid_of_7_x_28_is_not_taken_for_14_x_14() -> None:
    """Both have 196 tokens: a pattern which gives one side leaves no doubt, and one which gives none is refused."""
    spec = (TensorSpec.of("float32", 196, 8),)
    assert str(op("rearrange", pattern="(h w) c -> h w c", axes={"h": 7}).infer(spec)[0]) == "f32[7, 28, 8]"
    with pytest.raises(RulesError, match="f32"):
        op("rearrange", pattern="(h w) c -> h w c").infer(spec)
    with pytest.raises(RulesError, match="f32"):
        op("rearrange", pattern="(h w) c -> h w c", axes={"h": 14, "w": 28}).infer(spec)


@pytest.mark.parametrize("pattern", ["(a b", "a b) -> a b", "a-b -> b a", "a -> a a", "((a)) -> a", "a ... ... -> a ... ..."])
def test_what_is_no_pattern_is_refused_before_a_weight_is_read(pattern: str) -> None:
    with pytest.raises(RulesError, match="rearrange"):
        op("rearrange", pattern=pattern).infer((TensorSpec.of("float32", 2, 2),))


def plan_of(rule: dict[str, Any], *keys: str) -> Any:
    header = Header({key: TensorSpec.of("float32", 2, at + 1) for at, key in enumerate(keys)})
    return make_plan(as_rules([rule]), header, None)


def test_blocks_picked_again_are_independent_copies_and_the_others_are_dropped_with_a_reason() -> None:
    plan = plan_of({"layers": {"match": "h.{i:int}.{rest:path}", "pick": ["1-2", 2]}}, "h.0.w", "h.1.w", "h.2.w", "ln.w")
    assert {key: recipe.key for key, recipe in plan.recipes.items()} == {
        "h.0.w": "h.1.w",
        "h.1.w": "h.2.w",
        "h.2.w": "h.2.w",
        "ln.w": "ln.w",
    }
    assert dict(plan.ties) == {}
    assert dict(plan.dropped) == {"h.0.w": "dropped by rules[0].layers (layers)"}


def test_a_block_which_is_not_there_is_refused_with_those_which_are() -> None:
    with pytest.raises(RulesError, match=r"block 12 is picked") as caught:
        plan_of({"layers": {"match": "h.{i:int}.w", "pick": ["0-12"]}}, *(f"h.{i}.w" for i in range(12)))
    assert caught.value.hint == "There are: 0..11."
