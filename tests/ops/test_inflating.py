"""inflate, collapse, linear_to_conv, conv_to_linear and decimate against their sources, and against what real layers answer."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d, conv3d, linear

from ckpt_surgeon.ops.registry import OPS

FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)


def result(name: str, weight: torch.Tensor, *parameters: Any, **named: Any) -> torch.Tensor:
    op: Any = OPS[name](*parameters, **named)
    (made,) = op.bind(1, None).apply((weight,))
    return made


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def mmaction(weight: torch.Tensor, frames: int) -> torch.Tensor:
    """`_inflate_conv_params` of mmaction2's ResNet3d."""
    shape = (*weight.shape[:2], frames, *weight.shape[2:])
    return weight.data.unsqueeze(2).expand(shape) / shape[2]


@FLOATS
@pytest.mark.parametrize("frames", [2, 3, 5, 7])
def test_inflation_by_mean_is_that_of_mmaction_bit_for_bit(frames: int, dtype: torch.dtype) -> None:
    weight = noise(8, 3, 7, 7, dtype=dtype)
    assert torch.equal(result("inflate", weight, "mean", frames), mmaction(weight, frames))


@FLOATS
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_inflation_at_the_centre_has_the_weight_in_the_middle_frame_and_zeros_elsewhere(frames: int, dtype: torch.dtype) -> None:
    weight = noise(8, 3, 5, 5, dtype=dtype)
    inflated = result("inflate", weight, "centre", frames)
    expected = torch.zeros(8, 3, frames, 5, 5, dtype=dtype)
    expected[:, :, frames // 2] = weight
    assert torch.equal(inflated, expected)


def test_mean_keeps_the_answer_to_a_still_video_but_at_borders_which_are_padded_with_zeros() -> None:
    """To 1e-12 in double precision; with a frame of padding, the first and the last answer lack a third."""
    weight, image = noise(4, 3, 3, 3), noise(1, 3, 8, 8)
    inflated = result("inflate", weight, "mean", 3)
    still = image.unsqueeze(2).expand(-1, -1, 6, -1, -1)
    wanted = conv2d(image, weight).unsqueeze(2)
    torch.testing.assert_close(conv3d(still, inflated), wanted.expand(-1, -1, 4, -1, -1), rtol=0, atol=1e-12)
    padded = conv3d(still, inflated, padding=(1, 0, 0))
    torch.testing.assert_close(padded[:, :, 1:-1], wanted.expand(-1, -1, 4, -1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(padded[:, :, [0, -1]], 2 / 3 * wanted.expand(-1, -1, 2, -1, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_centre_answers_to_each_frame_of_a_moving_video_as_before(frames: int) -> None:
    """To 1e-12 in double precision, at the borders too."""
    weight, video = noise(4, 3, 3, 3), noise(1, 3, 6, 8, 8)
    inflated = result("inflate", weight, "centre", frames)
    wanted = torch.stack([conv2d(frame, weight) for frame in video.unbind(2)], 2)
    torch.testing.assert_close(conv3d(video, inflated, padding=(frames // 2, 0, 0)), wanted, rtol=0, atol=1e-12)


@given(st.sampled_from([2, 4, 8, 16]), st.integers(0, 3))
def test_collapse_undoes_the_mean_over_a_power_of_two_of_frames(frames: int, seed: int) -> None:
    weight = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(result("collapse", result("inflate", weight, "mean", frames)), weight)


@pytest.mark.parametrize("frames", [3, 5, 7])
def test_collapse_only_comes_near_where_another_number_of_frames_was_divided_by(frames: int) -> None:
    """To 4e-7 of the value; so neither op is called the inverse of the other."""
    weight = noise(64, 3, 7, 7, dtype=torch.float32)
    back = result("collapse", result("inflate", weight, "mean", frames))
    assert not torch.equal(back, weight)
    torch.testing.assert_close(back, weight, rtol=4e-7, atol=0)


def test_collapse_of_the_centre_only_loses_the_signs_of_zeros() -> None:
    weight = torch.tensor([[[1.5, -0.0]]])
    back = result("collapse", result("inflate", weight, "centre", 3))
    assert torch.equal(back, weight)
    assert torch.signbit(weight).any()
    assert not torch.signbit(back).any()


def test_collapse_adds_up_in_float32() -> None:
    weight = torch.tensor([[[2048.0, *[1.0] * 15]]], dtype=torch.float16)
    assert result("collapse", weight).item() == 2064.0, "in float16, 2048 + 1 is 2048"


@pytest.mark.parametrize(("order", "flattened"), [("chw", (0, 1, 2, 3)), ("hwc", (0, 2, 3, 1))])
def test_a_linear_layer_and_its_convolution_answer_alike(order: str, flattened: tuple[int, ...]) -> None:
    """To 1e-12 in double precision; and with the other order they do not."""
    weight, features = noise(10, 5 * 3 * 4), noise(2, 5, 3, 4)
    before = linear(features.permute(*flattened).flatten(1), weight)
    convolution = result("linear_to_conv", weight, order, (3, 4))
    torch.testing.assert_close(conv2d(features, convolution).flatten(1), before, rtol=0, atol=1e-12)
    assert torch.equal(result("conv_to_linear", convolution, order), weight)
    other = result("linear_to_conv", weight, "hwc" if order == "chw" else "chw", (3, 4))
    assert (conv2d(features, other).flatten(1) - before).abs().max() > 1


def sgrvinod(tensor: torch.Tensor, m: list[int | None]) -> torch.Tensor:
    """`decimate` of a-PyTorch-Tutorial-to-Object-Detection."""
    for dim, step in enumerate(m):
        if step is not None:
            tensor = tensor.index_select(dim=dim, index=torch.arange(start=0, end=tensor.size(dim), step=step).long())
    return tensor


@FLOATS
@pytest.mark.parametrize("m", [[4, None, 3, 3], [4, 4, None, None], [1, 2, 7, 8], [None] * 4], ids=str)
def test_decimation_is_that_of_the_tutorial_bit_for_bit(m: list[int | None], dtype: torch.dtype) -> None:
    weight = noise(16, 8, 7, 7, dtype=dtype)
    decimated = result("decimate", weight, m)
    assert torch.equal(decimated, sgrvinod(weight, m))
    assert decimated.untyped_storage().nbytes() == decimated.numel() * decimated.element_size()


def test_the_fully_connected_layers_of_vgg_become_the_convolutions_of_ssd() -> None:
    """`load_pretrained_layers` of the same tutorial, on a small VGG: view, then decimate."""
    fc6, fc7 = noise(32, 8 * 7 * 7, dtype=torch.float32), noise(32, 32, dtype=torch.float32)
    conv6 = result("decimate", result("linear_to_conv", fc6, "chw", (7, 7)), [4, None, 3, 3])
    conv7 = result("decimate", result("linear_to_conv", fc7, "chw", (1, 1)), [4, 4, None, None])
    assert torch.equal(conv6, sgrvinod(fc6.view(32, 8, 7, 7), [4, None, 3, 3]))
    assert torch.equal(conv7, sgrvinod(fc7.view(32, 32, 1, 1), [4, 4, None, None]))
    assert (conv6.shape, conv7.shape) == ((8, 8, 3, 3), (8, 8, 1, 1))
