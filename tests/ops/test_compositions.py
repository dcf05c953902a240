"""Ops one after the other: there and back by the op itself, by `inverse`, and through a plan; and orders which must not matter."""

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from op_samples import bytes_of, inputs_of, spec_of, tensor_of, tensors_of
from test_op_laws import SAMPLES, samples

from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import DTYPES, TensorSpec

TYPES = [DTYPES[name] for name in ("float32", "bfloat16", "float8_e4m3fn", "int64", "bool", "complex64", "uint16")]
shapes = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)
specs = st.builds(TensorSpec, shapes, st.sampled_from(TYPES))


def op(name: str, outputs: int = 1, **parameters: Any) -> TensorOp:
    made: Any = OPS[name](**parameters)
    return made.bind(outputs, None)


def dim_of(data: st.DataObject, rank: int) -> int:
    return data.draw(st.integers(-rank, rank - 1), label="dim")


def cut(data: st.DataObject, size: int) -> list[int]:
    """Sizes which add up to `size`."""
    marks = sorted(data.draw(st.lists(st.integers(0, size), max_size=3), label="cuts"))
    return [end - start for start, end in zip([0, *marks], [*marks, size], strict=True)]


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return [(spec_of(each), bytes_of(each)) for each in first] == [(spec_of(each), bytes_of(each)) for each in second]


@given(specs, st.data())
def test_split_then_concat_is_the_tensor(spec: TensorSpec, data: st.DataObject) -> None:
    dim = dim_of(data, len(spec.shape))
    sizes = cut(data, spec.shape[dim])
    tensor = tensor_of(spec)
    parts = op("split", len(sizes), dim=dim, sizes=sizes).apply((tensor,))
    assert [part.shape[dim] for part in parts] == sizes
    assert same(op("concat", dim=dim).apply(parts), (tensor,))


@given(specs, st.data())
def test_a_split_of_a_split_is_one_split(spec: TensorSpec, data: st.DataObject) -> None:
    dim = dim_of(data, len(spec.shape))
    outer = cut(data, spec.shape[dim])
    inner = [cut(data, size) for size in outer]
    tensor = tensor_of(spec)
    parts = op("split", len(outer), dim=dim, sizes=outer).apply((tensor,))
    twice = [
        each for part, sizes in zip(parts, inner, strict=True) for each in op("split", len(sizes), dim=dim, sizes=sizes).apply((part,))
    ]
    flat = [size for sizes in inner for size in sizes]
    assert same(tuple(twice), op("split", len(flat), dim=dim, sizes=flat).apply((tensor,)))


@given(specs, st.integers(1, 4), st.data())
def test_stack_then_unstack_are_the_tensors(spec: TensorSpec, number: int, data: st.DataObject) -> None:
    dim = dim_of(data, len(spec.shape) + 1)
    tensors = tensors_of([spec] * number)
    assert same(op("unstack", dim=dim).apply(op("stack", dim=dim).apply(tensors)), tensors)


@given(specs, st.integers(1, 4))
def test_a_stack_is_a_concat_of_unsqueezed_tensors(spec: TensorSpec, number: int) -> None:
    tensors = tensors_of([spec] * number)
    for dim in range(len(spec.shape) + 1):
        wider = tuple(op("unsqueeze", dims=dim).apply((tensor,))[0] for tensor in tensors)
        assert same(op("stack", dim=dim).apply(tensors), op("concat", dim=dim).apply(wider))


@given(specs, st.data())
def test_a_transposition_twice_is_no_change_and_is_a_permutation(spec: TensorSpec, data: st.DataObject) -> None:
    rank = len(spec.shape)
    assume(rank > 1)
    first, second = data.draw(st.permutations(range(rank)))[:2]
    tensor = tensor_of(spec)
    once = op("transpose", dims=[first, second - rank]).apply((tensor,))
    assert same(op("transpose", dims=[second, first]).apply(once), (tensor,))
    order = list(range(rank))
    order[first], order[second] = second, first
    assert same(op("permute", dims=order).apply((tensor,)), once)


@given(specs, st.data())
def test_two_permutations_are_one(spec: TensorSpec, data: st.DataObject) -> None:
    rank = len(spec.shape)
    first, second = (list(data.draw(st.permutations(range(rank)))) for _ in range(2))
    tensor = tensor_of(spec)
    both = op("permute", dims=second).apply(op("permute", dims=first).apply((tensor,)))
    assert same(both, op("permute", dims=[first[at] for at in second]).apply((tensor,)))
    back = sorted(range(rank), key=first.__getitem__)
    assert same(op("permute", dims=back).apply(op("permute", dims=first).apply((tensor,))), (tensor,))


@given(specs, st.data())
def test_unsqueeze_then_squeeze_is_the_tensor(spec: TensorSpec, data: st.DataObject) -> None:
    rank = len(spec.shape) + 2
    dims = list(data.draw(st.permutations(range(rank)))[:2])
    tensor = tensor_of(spec)
    wider = op("unsqueeze", dims=dims).apply((tensor,))
    assert all(wider[0].shape[dim] == 1 for dim in dims)
    assert same(op("squeeze", dims=[dim - rank for dim in dims]).apply(wider), (tensor,))
    fitted: Any = OPS["fit"]()
    assert same(fitted.bind(1, (spec,)).apply(wider), (tensor,))


@given(specs, st.data())
def test_reshape_there_and_back_and_over_a_detour_is_the_same(spec: TensorSpec, data: st.DataObject) -> None:
    tensor = tensor_of(spec)
    flat = op("reshape", shape=[-1] if prod(spec.shape) else [0]).apply((tensor,))
    assert same(op("reshape", shape=list(spec.shape)).apply(flat), (tensor,))
    other = list(data.draw(st.permutations(spec.shape)))
    direct = op("reshape", shape=other).apply((tensor,))
    assert same(op("reshape", shape=other).apply(flat), direct)


@pytest.mark.parametrize(("narrow", "wide"), [("float16", "float32"), ("bfloat16", "float64"), ("bool", "int64"), ("uint8", "float16")])
@given(shape=shapes)
def test_a_widening_cast_and_back_is_the_tensor(narrow: str, wide: str, shape: tuple[int, ...]) -> None:
    assert DTYPES[wide].holds(DTYPES[narrow])
    tensor = torch.arange(prod(shape)).remainder(2 if narrow == "bool" else 100).reshape(shape).to(getattr(torch, narrow))
    assert same(op("cast", dtype=narrow).apply(op("cast", dtype=wide).apply((tensor,))), (tensor,))


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=30)
@given(data=st.data())
def test_the_inverse_of_the_inverse_does_what_the_op_does(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    inverse = sample.op.inverse(sample.specs)
    if inverse is None:
        assert sample.op.contract != "exact"
        return
    between = sample.op.infer(sample.specs)
    bound = inverse.bind(len(sample.specs), None)
    again = bound.inverse(between)
    if again is None:
        assert bound.contract != "exact", "what was widened is narrowed back, which undoes nothing else"
        return
    outputs = sample.op.apply(inputs_of(sample.op.name, sample.specs))
    assert same(again.bind(len(outputs), None).apply(bound.apply(outputs)), outputs)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=30)
@given(data=st.data())
def test_an_op_which_undoes_itself_is_called_exact_and_one_which_computes_is_not(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    if sample.op.contract == "exact":
        assert sample.op.inverse(sample.specs) is not None
        outputs = sample.op.infer(sample.specs)
        assert sum(spec.nbytes for spec in outputs) == sum(spec.nbytes for spec in sample.specs), "not a byte comes or goes"
        assert {spec.dtype for spec in outputs} <= {spec.dtype for spec in sample.specs}
