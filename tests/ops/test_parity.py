"""Every op which moves elements against numpy on their numbers, for types and shapes of every kind; cast against IEEE 754 written out."""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import bytes_of, moved, spec_of, strided, tensor_of

from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import DTYPES, TensorSpec

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Judge = Callable[[list[Numbers]], Sequence[Numbers]]

NAMES = ["float16", "bfloat16", "float32", "float64", "int64", "uint8", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"]
OTHERS = ["int16", "uint16", "uint32", "uint64", "complex32", "float8_e8m0fnu", "float8_e4m3fnuz"]
TYPES = [DTYPES[name] for name in NAMES + OTHERS]
few_types = pytest.mark.parametrize("dtype", TYPES, ids=str)


def bound(name: str, outputs: int = 1, **parameters: Any) -> TensorOp:
    op: Any = OPS[name](**parameters)
    return op.bind(len(parameters.get("sizes", ())) or outputs, None)


def fitted(name: str, *shape: int) -> TensorOp:
    op: Any = OPS[name]()
    return op.bind(1, (TensorSpec.of("float32", *shape),))


# (an op, the shapes of its inputs, what numpy makes of the elements' numbers)
MOVES: list[tuple[TensorOp, list[tuple[int, ...]], Judge]] = [
    (bound("squeeze", dims=0), [(1,)], lambda x: [x[0].squeeze(0)]),
    (bound("squeeze", dims=[0, 2]), [(1, 3, 1, 2)], lambda x: [x[0].squeeze((0, 2))]),
    (bound("squeeze", dims=[-1, -2]), [(3, 1, 1)], lambda x: [x[0].squeeze((1, 2))]),
    (bound("squeeze", dims=1), [(0, 1)], lambda x: [x[0].squeeze(1)]),
    (bound("squeeze", dims=[]), [(1, 2)], lambda x: [x[0]]),
    (fitted("squeeze", 2, 1), [(1, 2, 1)], lambda x: [x[0].squeeze(0)]),
    (bound("unsqueeze", dims=0), [()], lambda x: [x[0][None]]),
    (bound("unsqueeze", dims=[0, -1]), [(2, 3)], lambda x: [x[0][None, :, :, None]]),
    (bound("unsqueeze", dims=[2, 3]), [(2, 3)], lambda x: [x[0][:, :, None, None]]),
    (bound("unsqueeze", dims=[-1]), [(0, 3)], lambda x: [x[0][..., None]]),
    (bound("reshape", shape=[6]), [(2, 3)], lambda x: [x[0].ravel()]),
    (bound("reshape", shape=[]), [(1, 1)], lambda x: [x[0].reshape(())]),
    (bound("reshape", shape=[3, -1]), [(2, 3, 2)], lambda x: [x[0].reshape(3, 4)]),
    (bound("reshape", shape=[-1, 3]), [(0, 3)], lambda x: [x[0].reshape(0, 3)]),
    (bound("reshape", shape=[0, 7]), [(5, 0)], lambda x: [x[0].reshape(0, 7)]),
    (fitted("fit", 1, 2, 3, 1), [(2, 1, 3)], lambda x: [x[0].reshape(1, 2, 3, 1)]),
    (fitted("fit"), [(1, 1)], lambda x: [x[0].reshape(())]),
    (fitted("fit", 0, 1), [(1, 0)], lambda x: [x[0].reshape(0, 1)]),
    (bound("transpose"), [(2, 3)], lambda x: [x[0].T]),
    (bound("transpose", dims=[0, -1]), [(2, 3, 4)], lambda x: [x[0].swapaxes(0, 2)]),
    (bound("transpose", dims=[2, 1]), [(2, 3, 4)], lambda x: [x[0].swapaxes(1, 2)]),
    (bound("transpose", dims=[0, 1]), [(0, 3)], lambda x: [x[0].T]),
    (bound("permute", dims=[]), [()], lambda x: [x[0]]),
    (bound("permute", dims=[3, 2, 0, 1]), [(2, 3, 4, 5)], lambda x: [x[0].transpose(3, 2, 0, 1)]),
    (bound("permute", dims=[-1, 0, -2]), [(2, 3, 4)], lambda x: [x[0].transpose(2, 0, 1)]),
    (bound("permute", dims=[1, 0]), [(1, 4)], lambda x: [x[0].T]),
    (bound("split", sizes=[1, 0, 3]), [(4, 2)], lambda x: np.split(x[0], [1, 1])),
    (bound("split", sizes=[2, 1], dim=-1), [(2, 3)], lambda x: np.split(x[0], [2], 1)),
    (bound("split", outputs=3, dim=1), [(2, 6, 2)], lambda x: np.split(x[0], 3, 1)),
    (bound("split", sizes=[0, 0]), [(0,)], lambda x: np.split(x[0], [0])),
    (bound("concat"), [(1, 2), (0, 2), (3, 2)], lambda x: [np.concatenate(x)]),
    (bound("concat", dim=-1), [(2, 1), (2, 3)], lambda x: [np.concatenate(x, 1)]),
    (bound("concat", dim=1), [(2, 1, 2)], lambda x: [x[0]]),
    (bound("concat", dim=1), [(0, 2), (0, 3)], lambda x: [np.concatenate(x, 1)]),
    (bound("stack"), [(), ()], lambda x: [np.stack(x)]),
    (bound("stack", dim=1), [(2, 3)] * 3, lambda x: [np.stack(x, 1)]),
    (bound("stack", dim=-1), [(2, 0)] * 2, lambda x: [np.stack(x, -1)]),
    (bound("stack", dim=-3), [(2, 3)] * 2, lambda x: [np.stack(x)]),
    (bound("unstack"), [(3,)], lambda x: list(x[0])),
    (bound("unstack", dim=-1), [(2, 0, 3)], lambda x: list(np.moveaxis(x[0], -1, 0))),
    (bound("unstack", dim=1), [(2, 3, 2)], lambda x: list(x[0].swapaxes(0, 1))),
    (bound("linear_to_conv", order="chw", kernel=[2, 3]), [(2, 24)], lambda x: [x[0].reshape(2, 4, 2, 3)]),
    (bound("linear_to_conv", order="hwc", kernel=[2, 3]), [(2, 24)], lambda x: [x[0].reshape(2, 2, 3, 4).transpose(0, 3, 1, 2)]),
    (bound("linear_to_conv", order="hwc", kernel=[2]), [(3, 2)], lambda x: [x[0].reshape(3, 1, 2)]),
    (bound("conv_to_linear", order="chw"), [(2, 4, 2, 3)], lambda x: [x[0].reshape(2, 24)]),
    (bound("conv_to_linear", order="hwc"), [(2, 4, 2, 3)], lambda x: [x[0].transpose(0, 2, 3, 1).reshape(2, 24)]),
    (bound("conv_to_linear", order="hwc"), [(2, 4, 1, 1)], lambda x: [x[0].reshape(2, 4)]),
    (bound("decimate", m=[2, None, 3]), [(3, 2, 7)], lambda x: [x[0][::2, :, ::3]]),
    (bound("decimate", m=[1, None]), [(3, 2)], lambda x: [x[0]]),
]
names = [f"{op.name} {op.parameters()} of {shapes}" for op, shapes, _ in MOVES]


def numbered(shapes: Sequence[tuple[int, ...]]) -> list[Numbers]:
    """The elements of all inputs, numbered through."""
    found, start = [], 0
    for shape in shapes:
        found.append(np.arange(start, start + math.prod(shape), dtype=np.int64).reshape(shape))
        start += math.prod(shape)
    return found


def picked(numbers: Numbers, raw: bytes, itemsize: int) -> bytes:
    return b"".join(raw[at * itemsize : (at + 1) * itemsize] for at in np.asarray(numbers).ravel().tolist())


@few_types
@pytest.mark.parametrize(("op", "shapes", "judge"), MOVES, ids=names)
def test_elements_go_where_numpy_takes_them(op: TensorOp, shapes: list[tuple[int, ...]], judge: Judge, dtype: Any) -> None:
    tensors = tuple(tensor_of(TensorSpec(shape, dtype), seed) for seed, shape in enumerate(shapes))
    raw = b"".join(map(bytes_of, tensors))
    wanted = judge(numbered(shapes))
    for inputs in (tensors, tuple(map(strided, tensors))):
        outputs = op.apply(inputs)
        assert [tuple(output.shape) for output in outputs] == [numbers.shape for numbers in wanted]
        assert [bytes_of(output) for output in outputs] == [picked(numbers, raw, dtype.itemsize) for numbers in wanted]
        assert all(output.dtype == inputs[0].dtype for output in outputs)
    specs = tuple(map(spec_of, tensors))
    assert op.infer(specs) == tuple(TensorSpec(numbers.shape, dtype) for numbers in wanted)
    runs = op.spans(specs)
    if runs is not None:
        assert [moved(each, list(map(bytes_of, tensors))) for each in runs] == list(map(bytes_of, op.apply(tensors)))


@pytest.mark.parametrize(("op", "shapes", "judge"), MOVES, ids=names)
def test_bytes_are_moved_exactly_where_their_order_stays(op: TensorOp, shapes: list[tuple[int, ...]], judge: Judge) -> None:
    """A join of one tensor is not asked for its order: no rule which is worth anything makes one."""
    wanted = [numbers.ravel().tolist() for numbers in judge(numbered(shapes))]
    ascending = all(numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in wanted if numbers)
    runs = op.spans(tuple(TensorSpec.of("float32", *shape) for shape in shapes))
    assert runs is None or ascending
    assert runs is not None or not ascending or not any(wanted) or (op.arity == "n->1" and len(shapes) == 1)


@pytest.mark.parametrize(("op", "shapes", "judge"), MOVES, ids=names)
def test_an_output_shares_no_storage_with_the_other_outputs(op: TensorOp, shapes: list[tuple[int, ...]], judge: Judge) -> None:
    tensors = tuple(torch.ones(shape) for shape in shapes)
    outputs = [output for output in op.apply(tensors) if output.numel()]
    places = [output.untyped_storage().data_ptr() for output in outputs]
    assert len(set(places)) == len(places)
    assert len(outputs) == sum(1 for numbers in judge(numbered(shapes)) if numbers.size)


# what IEEE 754 says: source type, its value, target type, the value there
CASTS = [
    ("float32", 1.0, "bfloat16", 1.0),
    ("float32", 1.00390625, "bfloat16", 1.0),  # a tie goes to the even neighbor
    ("float32", 1.01171875, "bfloat16", 1.015625),
    ("float32", 65519.0, "float16", 65504.0),
    ("float32", 65520.0, "float16", math.inf),
    ("float64", 1.0 + 2**-24, "float32", 1.0),
    ("float64", 1e-320, "float32", 0.0),
    ("float16", 2.0**-24, "float32", 2.0**-24),
    ("float32", -0.0, "float64", -0.0),
    ("float32", math.inf, "float16", math.inf),
    ("int64", 2**53 + 1, "float64", 2.0**53),
    ("int64", -3, "float16", -3.0),
    ("bool", True, "float32", 1.0),
    ("float32", 0.25, "bool", True),
    ("float32", 0.0, "bool", False),
    ("float32", 2.75, "int64", 2),
    ("float32", -2.75, "int32", -2),
    ("uint8", 255, "int16", 255),
    ("complex64", 1 - 2j, "complex128", 1 - 2j),
    ("float32", 3.0, "complex64", 3 + 0j),
    ("float32", 1.0625, "float8_e4m3fn", 1.0),
    ("float32", 448.0, "float8_e4m3fn", 448.0),
    ("float8_e5m2", 1.25, "float32", 1.25),
]


@pytest.mark.parametrize(("source", "value", "target", "wanted"), CASTS)
@pytest.mark.parametrize("shape", [(), (1,), (2, 0), (3, 2)], ids=str)
def test_a_cast_gives_the_nearest_value(source: str, value: Any, target: str, wanted: Any, shape: tuple[int, ...]) -> None:
    plain = torch.tensor(value, dtype=torch.float32 if "float8" in source else getattr(torch, source))
    tensor = plain.to(getattr(torch, source)).expand(shape).clone() if "float8" not in source else plain.expand(shape).to(torch.float8_e5m2)
    (found,) = bound("cast", dtype=target).apply((tensor,))
    assert spec_of(found) == TensorSpec.of(target, *shape)
    values = (found.float() if "float8" in target else found).flatten().tolist()
    assert values == [wanted] * math.prod(shape)
    assert all(math.copysign(1, each) == math.copysign(1, wanted) for each in values if isinstance(each, float))


def nearest_bfloat16(value: float) -> int:
    """Round to the nearest, ties to even, in whole numbers: the upper half of a float32."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


@settings(max_examples=200)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_a_cast_to_bfloat16_rounds_bit_by_bit(values: list[float]) -> None:
    (found,) = bound("cast", dtype="bfloat16").apply((torch.tensor(values, dtype=torch.float32),))
    assert found.view(torch.uint16).tolist() == [nearest_bfloat16(value) for value in values]


@pytest.mark.parametrize("name", [dtype.name for dtype in TYPES if dtype.has_zero])
@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(("value", "number"), [("zeros", 0.0), ("ones", 1.0)])
def test_a_new_tensor_holds_one_number_everywhere(name: str, shape: tuple[int, ...], value: str, number: float) -> None:
    (found,) = bound("init", value=value, shape=list(shape), dtype=name).apply(())
    assert spec_of(found) == TensorSpec.of(name, *shape)
    wanted = torch.full(shape, number, dtype=torch.float32).to(getattr(torch, name))
    assert bytes_of(found) == bytes_of(wanted)
    assert found.is_contiguous()
