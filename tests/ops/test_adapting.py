"""adapt_in_channels against its sources: TSN's and timm's code, written out plainly, and laws of the formulas."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.channels import AdaptInChannels
from ckpt_surgeon.spec import TensorSpec


def adapted(weight: torch.Tensor, mode: Any, in_channels: int | None = None, **parameters: Any) -> torch.Tensor:
    (result,) = AdaptInChannels(mode, in_channels, **parameters).apply((weight,))
    return result


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def tsn(weight: torch.Tensor, new_length: int) -> torch.Tensor:
    """`_construct_flow_model` of the TSN and TSM repositories: 2 * new_length channels."""
    kernel_size = weight.size()
    new_kernel_size = (*kernel_size[:1], 2 * new_length, *kernel_size[2:])
    return weight.data.mean(dim=1, keepdim=True).expand(new_kernel_size).contiguous()


def timm(in_chans: int, conv_weight: torch.Tensor) -> torch.Tensor:
    """`adapt_input_conv` of timm.models._manipulate, less its refusal of what is no RGB."""
    conv_type = conv_weight.dtype
    conv_weight = conv_weight.float()
    out, channels, height, width = conv_weight.shape
    if in_chans == 1:
        if channels > 3:
            conv_weight = conv_weight.reshape(out, channels // 3, 3, height, width).sum(dim=2, keepdim=False)
        else:
            conv_weight = conv_weight.sum(dim=1, keepdim=True)
    elif in_chans != 3:
        repeat = math.ceil(in_chans / 3)
        conv_weight = conv_weight.repeat(1, repeat, 1, 1)[:, :in_chans, :, :]
        conv_weight = conv_weight * (3 / float(in_chans))
    return conv_weight.to(conv_type)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("new_length", [1, 5, 8])
def test_mean_is_the_cross_modality_initialization_of_tsn(new_length: int, dtype: torch.dtype) -> None:
    weight = noise(64, 3, 7, 7, dtype=dtype)
    expected = tsn(weight if dtype == torch.float64 else weight.float(), new_length).to(dtype)
    assert torch.equal(adapted(weight, "mean", 2 * new_length), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("in_chans", [2, 4, 5, 6, 9, 10])
def test_repeat_is_the_adaption_of_timm(in_chans: int, dtype: torch.dtype) -> None:
    weight = noise(16, 3, 7, 7, dtype=dtype)
    assert torch.equal(adapted(weight, "repeat", in_chans), timm(in_chans, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("channels", "becomes"), [(3, 1), (12, 4), (48, 16)])
def test_sum_is_the_adaption_of_timm_for_one_channel(channels: int, becomes: int, dtype: torch.dtype) -> None:
    weight = noise(16, channels, 3, 3, dtype=dtype)
    assert torch.equal(adapted(weight, "sum", becomes), timm(1, weight))


def test_zero_keeps_the_function_while_the_new_channels_see_anything() -> None:
    weight, image = noise(8, 3, 3, 3).double(), noise(2, 5, 9, 9).double()
    wider = adapted(weight, "zero", 5)
    before = torch.nn.functional.conv2d(image[:, :3], weight)
    assert torch.allclose(torch.nn.functional.conv2d(image, wider), before)
    assert torch.equal(wider[:, :3], weight)
    assert not wider[:, 3:].any()


def test_select_reorders_as_the_image_is_reordered() -> None:
    weight, image = noise(8, 3, 3, 3).double(), noise(2, 3, 9, 9).double()
    swapped = adapted(weight, "select", channels=[2, 1, 0])
    before = torch.nn.functional.conv2d(image, weight)
    assert torch.allclose(torch.nn.functional.conv2d(image.flip(1), swapped), before)


@pytest.mark.parametrize("mode", ["mean", "repeat"])
def test_sum_preserving_keeps_the_response_to_a_gray_image(mode: str) -> None:
    weight, gray = noise(8, 3, 3, 3).double(), noise(2, 1, 9, 9).double()
    before = torch.nn.functional.conv2d(gray.expand(-1, 3, -1, -1), weight)
    wider = adapted(weight, mode, 12, rescale="sum_preserving")
    after = torch.nn.functional.conv2d(gray.expand(-1, 12, -1, -1), wider)
    assert torch.allclose(after, before)
    unscaled = adapted(weight, mode, 12, rescale="none")
    assert torch.allclose(torch.nn.functional.conv2d(gray.expand(-1, 12, -1, -1), unscaled), 4 * before)


@pytest.mark.parametrize("mode", ["mean", "repeat", "sum", "zero"])
@pytest.mark.parametrize("kernel", [(), (3,), (3, 3), (2, 3, 3)], ids=["linear", "1-d", "2-d", "3-d"])
def test_all_kernels_are_treated_alike(mode: str, kernel: tuple[int, ...]) -> None:
    weight = noise(4, 3, *kernel)
    wanted = 1 if mode == "sum" else 5
    result = adapted(weight, mode, wanted)
    assert result.shape == (4, wanted, *kernel)
    assert result.is_contiguous()
    flat = adapted(weight.reshape(4, 3, -1), mode, wanted)
    assert torch.equal(result.reshape(flat.shape), flat)


@pytest.mark.parametrize("mode", ["mean", "repeat", "zero"])
def test_a_grouped_convolution_is_adapted_group_by_group(mode: str) -> None:
    groups, weight = 2, noise(6, 3, 5)
    result = adapted(weight, mode, 8, groups=groups)
    parts = [adapted(part, mode, 4) for part in weight.chunk(groups)]
    assert torch.equal(result, torch.cat(parts))
    torch.nn.Conv1d(8, 6, 5, groups=groups, bias=False).load_state_dict({"weight": result})


def test_a_transposed_convolution_is_adapted_in_dim_0() -> None:
    weight = noise(3, 4, 2, 2)
    assert torch.equal(adapted(weight, "mean", 5, dim=0), adapted(weight.transpose(0, 1), "mean", 5).transpose(0, 1))
    assert torch.equal(adapted(weight, "mean", 5, dim=-4), adapted(weight, "mean", 5, dim=0))


def test_half_precision_is_not_added_up_in_half_precision() -> None:
    weight = torch.tensor([[2048.0, *[1.0] * 15]], dtype=torch.float16)
    assert adapted(weight, "sum", 1).item() == 2064.0, "in float16, 2048 + 1 is 2048"
    small = torch.full((1, 300), 1.0, dtype=torch.bfloat16)
    assert adapted(small, "mean", 1).item() == 1.0


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_float8_is_computed_in_float32_and_rounded_once(name: str) -> None:
    dtype = getattr(torch, name)
    weight = torch.tensor([[1.0, 2.0, 4.5]]).to(dtype)
    mean = weight.float().mean(1, keepdim=True).to(dtype).float()
    result = adapted(weight, "mean", 2)
    assert result.dtype == dtype
    assert result.float().tolist() == [[mean.item()] * 2]


def test_double_precision_is_kept() -> None:
    weight = torch.tensor([[1.0, 1.0 + 2**-40]], dtype=torch.float64)
    assert adapted(weight, "sum", 1).item() == 2.0 + 2**-40


def test_complex_weights_keep_both_parts() -> None:
    weight = torch.tensor([[1 + 2j, 3 - 4j]], dtype=torch.complex64)
    assert adapted(weight, "mean", 3).tolist() == [[2 - 1j] * 3]


@given(st.integers(1, 8), st.integers(1, 8))
def test_repeat_to_a_multiple_then_sum_gives_back_the_sum(channels: int, times: int) -> None:
    weight = noise(2, channels, 3).double()
    there = adapted(weight, "repeat", channels * times)
    assert torch.allclose(adapted(there, "sum", 1), adapted(weight, "sum", 1))


@given(st.permutations(range(5)))
def test_select_by_a_permutation_is_undone_by_its_inverse(order: list[int]) -> None:
    weight = noise(2, 5, 3)
    back = sorted(range(5), key=order.__getitem__)
    assert torch.equal(adapted(adapted(weight, "select", channels=order), "select", channels=back), weight)


@pytest.mark.parametrize(
    ("target", "in_channels"),
    [(TensorSpec.of("float32", 64, 10, 7, 7), 10), (TensorSpec.of("float16", 64, 1, 7, 7), 1), (TensorSpec.of("float32", 9, 4), 4)],
)
def test_the_number_of_channels_is_taken_from_the_target(target: TensorSpec, in_channels: int) -> None:
    op = AdaptInChannels("mean", "target")
    assert op.needs_target
    assert op.bind(1, (target,)) == AdaptInChannels("mean", in_channels)


def test_a_target_with_too_few_dims_is_named() -> None:
    with pytest.raises(RulesError, match=r"dim 1 of the target's f32\[64\]"):
        AdaptInChannels("mean", "target").bind(1, (TensorSpec.of("float32", 64),))


def test_the_target_has_the_last_word_on_selected_channels() -> None:
    op = AdaptInChannels("select", "target", channels=[0, 1])
    with pytest.raises(RulesError, match="2 channels"):
        op.bind(1, (TensorSpec.of("float32", 64, 5),))
    assert op.bind(1, (TensorSpec.of("float32", 64, 2),)).infer((TensorSpec.of("float32", 64, 3),)) == (TensorSpec.of("float32", 64, 2),)
