"""The laws of tensor ops, for every op of the registry at once, over shapes, types and parameters."""

import json
from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from arithmetic_samples import ARITHMETIC
from hypothesis import given, settings
from hypothesis import strategies as st
from op_draws import VALUED, WEIGHTS, Draw, Sample, at_least, shapes, signed, sizes, types
from op_samples import bytes_of, inputs_of, moved, spec_of, specs_of, strided
from resampling_samples import RESAMPLING
from row_samples import ROWS
from test_cases import FILES, bound_of

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import DTYPES, TensorSpec


def squeeze(draw: Draw) -> Sample:
    kept = draw(shapes)
    rank = len(kept) + 2
    dims = draw(st.lists(st.integers(0, rank - 1), min_size=2, max_size=2, unique=True))
    rest = iter(kept)
    spec = TensorSpec(tuple(1 if i in dims else next(rest) for i in range(rank)), draw(types()))
    op = OPS["squeeze"](dims=[signed(draw, dim, rank) for dim in dims])
    by_target = OPS["squeeze"]().bind(1, (TensorSpec(kept, spec.dtype),))
    return Sample(draw(st.sampled_from([op, by_target])), (spec,))


def unsqueeze(draw: Draw) -> Sample:
    shape = draw(shapes)
    rank = len(shape) + 2
    dims = draw(st.lists(st.integers(0, rank - 1), min_size=2, max_size=2, unique=True))
    return Sample(OPS["unsqueeze"](dims=[signed(draw, dim, rank) for dim in dims]), (TensorSpec(shape, draw(types())),))


def reshape(draw: Draw) -> Sample:
    shape = draw(shapes)
    wanted = draw(st.sampled_from([[prod(shape)], [1, prod(shape), 1], list(shape[::-1]), [-1]]))
    op = OPS["reshape"](shape=wanted) if prod(shape) or -1 not in wanted else OPS["reshape"](shape=[0])
    return Sample(op, (TensorSpec(shape, draw(types())),))


def fit(draw: Draw) -> Sample:
    shape = draw(shapes)
    wanted = [size for size in shape if size != 1]
    for at in draw(st.lists(st.integers(0, len(wanted)), max_size=2)):
        wanted.insert(at, 1)
    spec = TensorSpec(shape, draw(types()))
    return Sample(OPS["fit"]().bind(1, (TensorSpec(tuple(wanted), spec.dtype),)), (spec,))


def transpose(draw: Draw) -> Sample:
    shape = draw(at_least(2))
    dims = draw(st.lists(st.integers(0, len(shape) - 1), min_size=2, max_size=2, unique=True))
    op = OPS["transpose"]() if len(shape) == 2 and draw(st.booleans()) else OPS["transpose"](dims=dims)
    return Sample(op, (TensorSpec(shape, draw(types())),))


def permute(draw: Draw) -> Sample:
    shape = draw(shapes)
    dims = draw(st.permutations(range(len(shape))))
    return Sample(OPS["permute"](dims=[signed(draw, dim, len(shape)) for dim in dims]), (TensorSpec(shape, draw(types())),))


def cast(draw: Draw) -> Sample:
    source, wanted = draw(types(VALUED)), draw(types(VALUED))
    if source.is_complex and not wanted.is_complex:
        source, wanted = wanted, source
    return Sample(OPS["cast"](dtype=wanted.name), (TensorSpec(draw(shapes), source),))


def split(draw: Draw) -> Sample:
    shape = draw(at_least(1))
    dim = draw(st.integers(0, len(shape) - 1))
    parts = draw(st.lists(sizes, min_size=1, max_size=3))
    at = signed(draw, dim, len(shape))
    given_sizes = (OPS["split"](dim=at, sizes=parts), sum(parts))
    equal = (OPS["split"](dim=at).bind(len(parts), None), 2 * len(parts))
    by_heads = (OPS["split"](dim=at, heads=parts), 3 * sum(parts))
    op, size = draw(st.sampled_from([given_sizes, equal, by_heads]))
    return Sample(op, (TensorSpec((*shape[:dim], size, *shape[dim + 1 :]), draw(types())),))


def concat(draw: Draw) -> Sample:
    shape, dtype = draw(at_least(1)), draw(types())
    dim = draw(st.integers(0, len(shape) - 1))
    parts = draw(st.lists(sizes, min_size=1, max_size=3))
    specs = tuple(TensorSpec((*shape[:dim], size, *shape[dim + 1 :]), dtype) for size in parts)
    return Sample(OPS["concat"](dim=signed(draw, dim, len(shape))), specs)


def stack(draw: Draw) -> Sample:
    spec = TensorSpec(draw(shapes), draw(types()))
    rank = len(spec.shape) + 1
    return Sample(OPS["stack"](dim=draw(st.integers(-rank, rank - 1))), (spec,) * draw(st.integers(1, 3)))


def unstack(draw: Draw) -> Sample:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    return Sample(OPS["unstack"](dim=draw(st.integers(-len(shape), len(shape) - 1))), (TensorSpec(shape, draw(types())),))


def adapt_in_channels(draw: Draw) -> Sample:
    mode = draw(st.sampled_from(["mean", "repeat", "sum", "zero", "select"]))
    groups, channels, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.lists(sizes, max_size=3))
    wanted = {"sum": 1, "zero": channels + draw(sizes)}.get(mode, draw(st.integers(1, 7)))
    parameters: dict[str, Any] = {"mode": mode, "groups": groups, "rescale": draw(st.sampled_from([None, "none", "sum_preserving"]))}
    if mode == "select":
        parameters["channels"] = draw(st.lists(st.one_of(st.none(), st.integers(0, channels - 1)), min_size=1, max_size=5))
    else:
        parameters["in_channels"] = wanted * groups
    return Sample(OPS["adapt_in_channels"](**parameters), (TensorSpec((2 * groups, channels, *kernel), draw(types(WEIGHTS))),))


NOISY = [DTYPES["float32"], DTYPES["float64"], DTYPES["bfloat16"]]  # noise in float16 computes to what float16 does not hold


def head(draw: Draw) -> Sample:
    anchors, old, wanted, kernel = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 6)),
        draw(st.lists(sizes, max_size=2)),
    )
    mode = "grow" if wanted >= old else "slice"
    parameters: dict[str, Any] = {"mode": mode, "classes": wanted}
    if draw(st.booleans()):
        numbers = st.integers(0, old - 1)
        rows = st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=5) | st.permutations(range(old))
        parameters = {"mode": "map", "rows": draw(rows)}
    policy = draw(st.sampled_from(["zero", "mean", "normal"]))
    among = [dtype for dtype in VALUED if dtype.has_zero] if policy == "zero" else NOISY
    dim = draw(st.integers(0, len(kernel)))
    shape = (*kernel[:dim], anchors * old, *kernel[dim:])
    op = OPS["head"](**parameters, unmapped=policy, anchors=anchors, dim=signed(draw, dim, len(shape)), seed=draw(sizes))
    return Sample(op, (TensorSpec(shape, draw(types(among))),))


def resize_vocab(draw: Draw) -> Sample:
    old, size, features = draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.lists(sizes, max_size=2))
    policy, dim = draw(st.sampled_from(["zero", "mean", "normal"])), draw(st.integers(0, len(features)))
    shape = (*features[:dim], old, *features[dim:])
    among = [dtype for dtype in VALUED if dtype.has_zero] if policy == "zero" else NOISY
    multiple = draw(st.sampled_from([None, 1, 4]))
    op = OPS["resize_vocab"](size, policy, pad_to_multiple_of=multiple, seed=draw(sizes), dim=signed(draw, dim, len(shape)))
    return Sample(op, (TensorSpec(shape, draw(types(among))),))


def roles(draw: Draw, *shapes: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    among = draw(st.sampled_from([[DTYPES["float64"]], [DTYPES["float32"], DTYPES["bfloat16"]]]))
    return tuple(TensorSpec(shape, draw(types(among))) for shape in shapes)


def merge_lora(draw: Draw) -> Sample:
    outs, ins, rank, kernel = draw(sizes), draw(sizes), draw(st.integers(1, 3)), draw(st.lists(sizes, max_size=2))
    turned = not kernel and draw(st.booleans())
    weight = (ins, outs) if turned else (outs, ins, *kernel)
    op = OPS["merge_lora"](draw(st.integers(-4, 4)), rslora=draw(st.booleans()), fan_in_fan_out=turned)
    return Sample(op, roles(draw, weight, (rank, ins, *kernel), (outs, rank, *(1 for _ in kernel))))


def fold_bn(draw: Draw) -> Sample:
    outs, ins, kernel, groups = draw(sizes), draw(sizes), draw(st.lists(sizes, max_size=2)), draw(st.integers(1, 3))
    transposed, has_bias = draw(st.booleans()), draw(st.booleans())
    weight = (ins * groups, outs, *kernel) if transposed else (outs, ins, *kernel)
    channels = outs * groups if transposed else outs
    op = OPS["fold_bn"](1e-5, transposed=transposed, groups=groups if transposed else 1)
    return Sample(op, roles(draw, weight, *[(channels,)] * (5 if has_bias else 4)))


def bake_weight_norm(draw: Draw) -> Sample:
    shape = draw(at_least(1))
    dim = draw(st.integers(0, len(shape) - 1))
    if draw(st.booleans()):
        return Sample(OPS["bake_weight_norm"]("all"), roles(draw, (), shape))
    magnitude = tuple(size if i == dim else 1 for i, size in enumerate(shape))
    return Sample(OPS["bake_weight_norm"](signed(draw, dim, len(shape))), roles(draw, magnitude, shape))


def bake_spectral_norm(draw: Draw) -> Sample:
    shape = draw(at_least(1))
    dim = draw(st.integers(0, len(shape) - 1))
    vectors = (shape[dim],), (prod(shape[:dim] + shape[dim + 1 :]),)
    return Sample(OPS["bake_spectral_norm"](signed(draw, dim, len(shape))), roles(draw, shape, *vectors))


def init(draw: Draw) -> Sample:
    spec = TensorSpec(draw(shapes), draw(types([dtype for dtype in VALUED if dtype.holds(DTYPES["bool"])])))
    value = draw(st.sampled_from(["zeros", "ones", "model"]))
    return Sample(OPS["init"](value, seed=draw(st.integers(0, 9))).bind(1, (spec,)), (spec,) if value == "model" else ())


SAMPLES: dict[str, Callable[[Draw], Sample]] = (
    {
        sample.__name__: sample
        for sample in (
            squeeze,
            unsqueeze,
            reshape,
            transpose,
            permute,
            cast,
            split,
            concat,
            stack,
            unstack,
            adapt_in_channels,
            head,
            resize_vocab,
            merge_lora,
            fold_bn,
            bake_weight_norm,
            bake_spectral_norm,
            fit,
            init,
            *RESAMPLING,
        )
    }
    | ROWS
    | ARITHMETIC
)


def shown_by_cases(name: str) -> Callable[[Draw], Sample]:
    """What an op's case file shows, for one which needs no draws of its own."""
    shown = [case for case in FILES[name]["works"] if "inputs" in case]

    def sample(draw: Draw) -> Sample:
        case = draw(st.sampled_from(shown))
        return Sample(bound_of(name, case), specs_of(case["inputs"]))

    return sample


SAMPLES |= {name: shown_by_cases(name) for name, op in OPS.items() if hasattr(op, "infer") and name not in SAMPLES}


@st.composite
def samples(draw: Draw, name: str) -> Sample:
    return SAMPLES[name](draw)


every_op = pytest.mark.parametrize("name", SAMPLES)
examples = settings(max_examples=40)


def test_the_laws_are_tested_for_every_tensor_op() -> None:
    assert sorted(SAMPLES) == sorted(name for name, op in OPS.items() if hasattr(op, "infer"))


@every_op
@examples
@given(data=st.data())
def test_tensors_come_out_as_their_specs_say(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    outputs = sample.op.apply(inputs_of(name, sample.specs))
    assert tuple(map(spec_of, outputs)) == sample.op.infer(sample.specs)
    assert sample.op.count(sample.specs) in (None, len(outputs))


@every_op
@examples
@given(data=st.data())
def test_runs_of_bytes_are_what_is_computed(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    runs = sample.op.spans(sample.specs)
    if runs is None:
        return
    inputs = inputs_of(name, sample.specs)
    assert [moved(each, list(map(bytes_of, inputs))) for each in runs] == list(map(bytes_of, sample.op.apply(inputs)))


@pytest.mark.parametrize("name", [name for name in SAMPLES if OPS[name].contract == "exact" or name in ("slice", "take")])
@examples
@given(data=st.data())
def test_an_op_which_only_moves_elements_moves_those_of_another_type_alike(name: str, data: st.DataObject) -> None:
    """An optimizer's moments go through the ops of their parameter, in a type of their own."""
    sample = data.draw(samples(name))
    specs = tuple(TensorSpec(spec.shape, DTYPES["float64"]) for spec in sample.specs)
    numbers = torch.arange(sum(spec.numel for spec in specs), dtype=torch.float64)
    inputs = tuple(part.reshape(spec.shape) for part, spec in zip(numbers.split([spec.numel for spec in specs]), specs, strict=True))
    outputs = sample.op.apply(inputs)
    assert tuple(map(spec_of, outputs)) == sample.op.infer(specs)
    found = torch.cat([output.flatten() for output in outputs])
    if OPS[name].contract == "exact":
        assert torch.equal(found.sort().values, numbers)
    assert set(found.tolist()) <= set(numbers.tolist())


@every_op
@examples
@given(data=st.data())
def test_the_inverse_brings_back_every_bit(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    inverse = sample.op.inverse(sample.specs)
    if inverse is None:
        return
    inputs = inputs_of(name, sample.specs)
    there = sample.op.apply(inputs)
    back = inverse.bind(len(inputs), None)
    assert back.infer(sample.op.infer(sample.specs)) == sample.specs
    assert list(map(bytes_of, back.apply(there))) == list(map(bytes_of, inputs))


@every_op
@examples
@given(data=st.data())
def test_inputs_are_left_as_they_are(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    inputs = inputs_of(name, sample.specs)
    before = [(bytes_of(tensor), tensor._version, tensor.shape) for tensor in inputs]
    sample.op.apply(inputs)
    assert [(bytes_of(tensor), tensor._version, tensor.shape) for tensor in inputs] == before


@every_op
@examples
@given(data=st.data())
def test_inputs_may_be_views_and_parameters(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    plain = inputs_of(name, sample.specs)
    views = [strided(tensor) for tensor in plain]
    trained = tuple(torch.nn.Parameter(view, requires_grad=view.is_floating_point() or view.is_complex()) for view in views)
    expected = list(map(bytes_of, sample.op.apply(plain)))
    assert [bytes_of(tensor.detach()) for tensor in sample.op.apply(trained)] == expected


@every_op
@examples
@given(data=st.data())
def test_an_op_is_a_value_and_its_parameters_make_it_again(name: str, data: st.DataObject) -> None:
    op = data.draw(samples(name)).op
    again = type(op)(**json.loads(json.dumps(op.parameters())))
    assert again == op
    assert hash(again) == hash(op)
    assert len({op, again}) == 1


@every_op
@examples
@given(data=st.data())
def test_a_bound_op_stays_as_it_is_bound_again(name: str, data: st.DataObject) -> None:
    sample = data.draw(samples(name))
    outputs = sample.op.infer(sample.specs)
    if sample.op.needs_target and name != "init":
        raise AssertionError("samples are bound")
    assert sample.op.bind(len(outputs), outputs).infer(sample.specs) == outputs


@pytest.mark.parametrize("name", sorted({"squeeze", "unsqueeze", "reshape", "fit", "concat", "split", "stack", "unstack"}))
def test_ops_along_the_first_dim_only_move_bytes(name: str) -> None:
    spec = TensorSpec.of("bfloat16", 4, 1, 6)
    made = {
        "squeeze": (OPS["squeeze"](dims=1), (spec,)),
        "unsqueeze": (OPS["unsqueeze"](dims=1), (spec,)),
        "reshape": (OPS["reshape"](shape=[24]), (spec,)),
        "fit": (OPS["fit"]().bind(1, (TensorSpec.of("bfloat16", 4, 6),)), (spec,)),
        "concat": (OPS["concat"](), (spec, spec)),
        "split": (OPS["split"](sizes=[1, 3]), (spec,)),
        "stack": (OPS["stack"](), (spec, spec)),
        "unstack": (OPS["unstack"](), (spec,)),
    }
    op, specs = made[name]
    runs = op.spans(specs)
    assert runs is not None
    assert sum(run.nbytes for each in runs for run in each) == sum(each.nbytes for each in specs)


@pytest.mark.parametrize(
    ("name", "parameters", "shape", "moves"),
    [
        ("transpose", {"dims": [0, 1]}, (1, 5), True),
        ("transpose", {"dims": [0, 2]}, (1, 5, 1), True),
        ("transpose", {"dims": [0, 2]}, (1, 5, 2), False),
        ("transpose", {"dims": [0, 1]}, (3, 5), False),
        ("permute", {"dims": [1, 0, 2]}, (3, 1, 5), True),
        ("permute", {"dims": [2, 0, 1]}, (3, 1, 5), False),
        ("permute", {"dims": [1, 0]}, (3, 0), True),
        ("split", {"dim": 1, "parts": 2}, (1, 4, 3), True),
        ("split", {"dim": 1, "parts": 2}, (2, 4, 3), False),
        ("unstack", {"dim": 1}, (1, 4), True),
        ("unstack", {"dim": 1}, (2, 4), False),
        ("concat", {"dim": 1}, (1, 4), True),
        ("concat", {"dim": 1}, (2, 4), False),
        ("stack", {"dim": 1}, (1, 4), True),
        ("stack", {"dim": 1}, (2, 4), False),
        ("cast", {"dtype": "float32"}, (2, 4), True),
        ("cast", {"dtype": "float64"}, (2, 4), False),
        ("adapt_in_channels", {"mode": "zero", "in_channels": 4}, (2, 4), False),
    ],
)
def test_bytes_are_moved_where_their_order_stays(name: str, parameters: dict[str, Any], shape: tuple[int, ...], moves: bool) -> None:
    op: Any = OPS[name](**parameters)
    assert (op.spans((TensorSpec.of("float32", *shape),)) is not None) == moves


@pytest.mark.parametrize("name", ["split", "unstack"])
def test_the_parts_of_a_tensor_have_memory_of_their_own(name: str) -> None:
    whole = torch.zeros(4, 3)
    parts = OPS[name]().bind(4, None).apply((whole,))
    assert all(part.untyped_storage().nbytes() == part.numel() * 4 for part in parts)
    assert len({part.untyped_storage().data_ptr() for part in (whole, *parts)}) == 5


def test_a_split_which_is_not_bound_knows_no_parts() -> None:
    with pytest.raises(RulesError, match="neither sizes nor a number of outputs"):
        OPS["split"]().infer((TensorSpec.of("float32", 4),))
