"""adapt_in_channels judged by what real layers answer: constant inputs, channels alike, dead channels; and by sums written out."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.channels import AdaptInChannels
from ckpt_surgeon.spec import TensorSpec

KERNELS = {"linear": (), "1-d": (3,), "2-d": (3, 2), "3-d": (2, 3, 2)}
LAYERS = {"1-d": torch.nn.Conv1d, "2-d": torch.nn.Conv2d, "3-d": torch.nn.Conv3d}


def layer(kind: str, channels: int, groups: int, weight: torch.Tensor | None = None) -> torch.nn.Module:
    """A real layer without bias, in double precision."""
    torch.manual_seed(channels)
    if kind == "linear":
        made: torch.nn.Module = torch.nn.Linear(channels, 4, bias=False)
    else:
        made = LAYERS[kind](channels, 4, KERNELS[kind], groups=groups, bias=False)
    made = made.double()
    if weight is not None:
        made.load_state_dict({"weight": weight}, strict=True)
    return made


def answer(kind: str, made: torch.nn.Module, values: list[float]) -> torch.Tensor:
    """What the layer answers to a picture whose channels are constant."""
    size = [1, len(values), *(6 for _ in KERNELS[kind])]
    picture = torch.tensor(values, dtype=torch.float64).reshape([1, -1] + [1] * len(KERNELS[kind])).expand(size)
    with torch.no_grad():
        result: torch.Tensor = made(picture.reshape(1, -1) if kind == "linear" else picture)
    return result


def layers() -> Iterator[Any]:
    for kind in KERNELS:
        for groups in (1,) if kind == "linear" else (1, 2, 4):
            yield pytest.param(kind, groups, id=f"{kind}, {groups} groups")


def adapted(made: torch.nn.Module, mode: Any, number: int, groups: int, **parameters: Any) -> torch.Tensor:
    weight: Any = made.weight
    given_channels = {} if mode == "select" else {"in_channels": number * groups}
    (result,) = AdaptInChannels(mode, groups=groups, **given_channels, **parameters).apply((weight,))
    assert not result.requires_grad
    return result


@pytest.mark.parametrize(("kind", "groups"), list(layers()))
@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("mean", 1), ("mean", 2), ("mean", 3), ("mean", 5), ("repeat", 3), ("repeat", 6), ("repeat", 9), ("zero", 3), ("zero", 5)],
)
def test_sum_preserving_answers_a_constant_input_as_before(kind: str, groups: int, wanted: int, mode: str) -> None:
    """`repeat` to whole multiples: a rest of the old channels has another sum, which the formula below tells."""
    before = layer(kind, 3 * groups, groups)
    after = layer(kind, wanted * groups, groups, adapted(before, mode, wanted, groups, rescale="sum_preserving"))
    same = answer(kind, before, [0.7] * 3 * groups)
    if mode == "zero":
        assert torch.allclose(answer(kind, after, ([0.7] * 3 + [0.0] * (wanted - 3)) * groups), same)
        assert torch.allclose(answer(kind, after, ([0.7] * 3 + [9.9] * (wanted - 3)) * groups), same)
        return
    assert torch.allclose(answer(kind, after, [0.7] * wanted * groups), same)


@pytest.mark.parametrize(("kind", "groups"), list(layers()))
def test_the_mean_answers_any_input_as_the_mean_of_its_channels_would_be(kind: str, groups: int) -> None:
    before = layer(kind, 3 * groups, groups)
    after = layer(kind, 5 * groups, groups, adapted(before, "mean", 5, groups, rescale="sum_preserving"))
    values = [float(number) for number in range(1, 5 * groups + 1)]
    means = [sum(values[5 * group : 5 * group + 5]) / 5 for group in range(groups) for _ in range(3)]
    assert torch.allclose(answer(kind, after, values), answer(kind, before, means))


@pytest.mark.parametrize(("kind", "groups"), list(layers()))
def test_the_sum_answers_one_channel_as_the_same_in_every_channel(kind: str, groups: int) -> None:
    before = layer(kind, 3 * groups, groups)
    after = layer(kind, groups, groups, adapted(before, "sum", 1, groups))
    values = [float(number) for number in range(1, groups + 1)]
    assert torch.allclose(answer(kind, after, values), answer(kind, before, [value for value in values for _ in range(3)]))


@pytest.mark.parametrize(("kind", "groups"), list(layers()))
def test_selected_channels_answer_as_before_and_chosen_zeros_see_nothing(kind: str, groups: int) -> None:
    before = layer(kind, 3 * groups, groups)
    after = layer(kind, 4 * groups, groups, adapted(before, "select", 4, groups, channels=[2, None, 1, 0]))
    seen = [[10.0 * group + at for at in (1, 2, 3)] for group in range(groups)]
    reordered = [value for one in seen for value in (one[2], 77.0, one[1], one[0])]
    assert torch.allclose(answer(kind, after, reordered), answer(kind, before, [value for one in seen for value in one]))


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(["mean", "repeat", "zero", "select"]), st.data())
@settings(max_examples=150)
def test_each_new_channel_is_the_sum_which_the_formula_says(size: int, wanted: int, mode: str, data: st.DataObject) -> None:
    """Channel weights are whole numbers, so that the sums are exact fractions."""
    rescale = data.draw(st.sampled_from([None, "none", "sum_preserving"]))
    parameters: dict[str, Any] = {"in_channels": wanted}
    channels: list[int | None] = [at % size for at in range(wanted)]
    if mode == "zero":
        wanted = size + wanted - 1
        parameters = {"in_channels": wanted}
        channels = [at if at < size else None for at in range(wanted)]
    if mode == "select":
        channels = data.draw(st.lists(st.one_of(st.none(), st.integers(0, size - 1)), min_size=1, max_size=5))
        parameters = {"channels": channels}
    weights = [Fraction(2**at) for at in range(size)]
    carriers = len(channels) if mode == "mean" else sum(channel is not None for channel in channels)
    scales = rescale == "sum_preserving" or (rescale is None and mode == "repeat")
    factor = Fraction(size, carriers) if scales and carriers else Fraction(1)
    plain = [sum(weights) / size if mode == "mean" else Fraction(0) if at is None else weights[at] for at in channels]
    weight = torch.tensor([[float(each) for each in weights]], dtype=torch.float64)
    (found,) = AdaptInChannels(mode, rescale=rescale, **parameters).apply((weight,))
    assert found.shape == (1, len(channels))
    assert all(math.isclose(one, float(other * factor)) for one, other in zip(found[0].tolist(), plain, strict=True))


@pytest.mark.parametrize("mode", ["mean", "repeat"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64], ids=str)
def test_the_same_number_of_channels_changes_nothing_of_alike_channels(mode: str, dtype: torch.dtype) -> None:
    weight = torch.full((2, 4, 3), 0.5, dtype=dtype)
    (found,) = AdaptInChannels(mode, 4).apply((weight,))
    assert torch.equal(found, weight)
    assert found.data_ptr() != weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("mode", ["repeat", "zero"])
def test_the_own_number_of_channels_keeps_every_bit(mode: str, dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, 2).to(dtype)
    (found,) = AdaptInChannels(mode, 3).apply((weight,))
    assert torch.equal(found, weight)


# what fits no layer: parameters, weight, target, words
REFUSED = [
    ({"mode": "mean", "in_channels": "target"}, (6,), (7,), ["dim 1 of the target's f32[7]", "-1..0"]),
    ({"mode": "mean", "in_channels": "target"}, (6,), (7, 2), ["dim 1 of f32[6]", "-1..0"]),
    ({"mode": "mean", "in_channels": "target"}, (6, 3), (), ["dim 1 of the target's f32[]", "it has no dims"]),
    ({"mode": "mean", "in_channels": "target", "dim": 2}, (6, 3, 1), (6, 3), ["dim 2 of the target's f32[6, 3]", "-2..1"]),
    ({"mode": "mean", "in_channels": 5}, (), None, ["dim 1 of f32[]", "it has no dims"]),
    ({"mode": "mean", "in_channels": 5}, (4, 0, 3), None, ["dim 1 of f32[4, 0, 3]", "0 channels", "nothing to adapt"]),
    ({"mode": "zero", "in_channels": 2}, (4, 3), None, ["dim 1 of f32[4, 3] has 3 channels", "more than 2", "select"]),
    ({"mode": "sum", "in_channels": 2}, (4, 3), None, ["3 channels", "not 2", "fits: 1."]),
    ({"mode": "sum", "in_channels": 3}, (4, 12), None, ["12 channels", "not 3", "1, or 4"]),
    ({"mode": "select", "channels": [0, 3]}, (4, 3), None, ["3 channels", "number 3", "0..2"]),
    ({"mode": "mean", "in_channels": 6, "groups": 3}, (4, 3), None, ["dim 0 of f32[4, 3]", "3 groups"]),
]


@pytest.mark.parametrize(("parameters", "shape", "target", "says"), REFUSED)
def test_what_fits_no_layer_is_refused_with_dim_size_and_what_would_fit(
    parameters: dict[str, Any], shape: tuple[int, ...], target: tuple[int, ...] | None, says: list[str]
) -> None:
    op = AdaptInChannels(**parameters)
    targets = None if target is None else (TensorSpec.of("float32", *target),)
    with pytest.raises(RulesError) as caught:
        op.bind(1, targets).infer((TensorSpec.of("float32", *shape),))
    assert [word for word in says if word not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["int64", "bool", "uint8", "float8_e8m0fnu", "int4"])
def test_what_holds_no_weights_is_refused_by_its_type(name: str) -> None:
    with pytest.raises(RulesError, match="holds no weights"):
        AdaptInChannels("mean", 5).infer((TensorSpec.of(name, 4, 3),))
