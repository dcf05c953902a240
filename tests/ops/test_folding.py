"""merge_lora, fold_bn, bake_weight_norm and bake_spectral_norm against torch's own modules and peft's formulas."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import fusion, parametrizations

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.batch_norm import FoldBatchNorm
from ckpt_surgeon.ops.lora import MergeLora
from ckpt_surgeon.ops.norms_of_weights import BakeSpectralNorm, BakeWeightNorm

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")  # the older names are what is tried

HALVES = [torch.float16, torch.bfloat16]


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


def applied(op: Any, *tensors: torch.Tensor) -> torch.Tensor:
    (result,) = op.apply(tensors)
    assert isinstance(result, torch.Tensor)
    return result


def peft(weight: torch.Tensor, lora_a: torch.Tensor, lora_b: torch.Tensor, scaling: float, fan_in_fan_out: bool) -> torch.Tensor:
    """`weight += get_delta_weight` of `Linear` and `_ConvNd` in peft 0.21, for what is no half precision."""
    if weight.dim() == 2:
        delta = lora_b @ lora_a
        return weight + (delta.T if fan_in_fan_out else delta) * scaling
    if weight.size()[2:4] == (1, 1):
        delta = (lora_b.squeeze(3).squeeze(2) @ lora_a.squeeze(3).squeeze(2)).unsqueeze(2).unsqueeze(3) * scaling
        return weight + delta
    convolve: Callable[..., torch.Tensor] = {3: nn.functional.conv1d, 4: nn.functional.conv2d, 5: nn.functional.conv3d}[weight.dim()]
    return weight + convolve(lora_a.transpose(0, 1), lora_b).transpose(0, 1) * scaling


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    ("kernel", "fan_in_fan_out"), [((), False), ((), True), ((1, 1), False), ((3,), False), ((3, 3), False), ((2, 3, 3), False)]
)
def test_a_merged_weight_is_that_of_peft_to_1e_6(kernel: tuple[int, ...], fan_in_fan_out: bool, rslora: bool) -> None:
    """Largest difference: 0 against peft 0.21 itself on linear layers, embeddings, Conv1D, 1x1 and 3x3 convolutions."""
    outs, ins, rank, alpha = 30, 20, 4, 16
    lora_a, lora_b = noise(rank, ins, *kernel), noise(outs, rank, *(1 for _ in kernel))
    weight = noise(ins, outs) if fan_in_fan_out else noise(outs, ins, *kernel)
    merged = applied(MergeLora(alpha, rslora=rslora, fan_in_fan_out=fan_in_fan_out), weight, lora_a, lora_b)
    expected = peft(weight, lora_a, lora_b, alpha / (sqrt(rank) if rslora else rank), fan_in_fan_out)
    assert torch.allclose(merged, expected, rtol=1e-6, atol=1e-5)


def test_a_merged_layer_computes_what_layer_and_adapter_did() -> None:
    layer, lora_a, lora_b, image = nn.Conv2d(6, 10, 3, bias=False), noise(4, 6, 3, 3), noise(10, 4, 1, 1), noise(2, 6, 9, 9)
    with torch.no_grad():
        adapter = nn.functional.conv2d(nn.functional.conv2d(image, lora_a), lora_b) * (16 / 4)
        before = layer(image) + adapter
        layer.weight.copy_(applied(MergeLora(16), layer.weight, lora_a, lora_b))
        assert torch.allclose(layer(image), before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    parts = noise(30, 20, dtype=dtype), noise(4, 20, dtype=dtype), noise(30, 4, dtype=dtype)
    merged = applied(MergeLora(16), *parts)
    assert merged.dtype == dtype
    assert torch.equal(merged, applied(MergeLora(16), *(part.float() for part in parts)).to(dtype))


def test_a_square_weight_is_turned_only_where_it_is_said() -> None:
    parts = noise(8, 8), noise(2, 8), noise(8, 2, seed=1)
    plain, turned = (applied(MergeLora(2, fan_in_fan_out=turned), *parts) for turned in (False, True))
    assert torch.allclose(plain - parts[0], (turned - parts[0]).T, atol=1e-5)
    assert not torch.allclose(plain, turned, atol=1e-2)


OVERFLOWING = {"base.weight": torch.full((2, 2), 60000.0, dtype=torch.float16), "a.weight": torch.ones(1, 2), "b.weight": torch.ones(2, 1)}
MERGE = {"merge_lora": {"source": {"weight": "base.weight", "lora_a": "a.weight", "lora_b": "b.weight"}, "target": "weight", "alpha": 9000}}


def merge_document(**allow: str) -> dict[str, Any]:
    return {"version": 1, "rules": [MERGE], "allow": allow}


def test_a_result_too_large_for_float16_is_refused_with_its_keys() -> None:
    with pytest.raises(RulesError) as caught:
        surgeon.remap(OVERFLOWING, merge_document(casts="weight"))
    assert "base.weight, a.weight, b.weight: merge_lora: 69000 in its result is too large for float16" in str(caught.value)
    assert "bfloat16" in caught.value.hint


def test_the_same_result_fits_bfloat16_and_float32() -> None:
    for dtype in (torch.bfloat16, torch.float32):
        state = OVERFLOWING | {"base.weight": OVERFLOWING["base.weight"].to(dtype)}
        assert surgeon.remap(state, merge_document(casts="weight"))["weight"].isfinite().all()


def test_what_was_infinite_before_may_stay_so() -> None:
    weight = torch.tensor([[torch.inf, torch.nan, 1.0]], dtype=torch.float16)
    merged = applied(MergeLora(1), weight, torch.zeros(1, 3), torch.zeros(1, 1))
    assert merged[0, 0].isinf()
    assert merged[0, 1].isnan()


def test_an_adapter_in_float32_on_a_weight_in_bfloat16_has_to_be_allowed() -> None:
    state = OVERFLOWING | {"base.weight": torch.zeros(2, 2, dtype=torch.bfloat16)}
    with pytest.raises(RulesError, match="f32 -> bf16 would lose values"):
        surgeon.remap(state, merge_document())


def norm_of(channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> Any:
    norm: Any = kind(channels, eps=1e-3).eval()
    with torch.no_grad():
        for tensor, seed in ((norm.weight, 1), (norm.bias, 2), (norm.running_mean, 3)):
            tensor.copy_(noise(channels, seed=seed))
        norm.running_var.copy_(noise(channels, seed=4).abs() + 0.1)
    return norm


def parts_of(layer: Any, norm: Any) -> list[torch.Tensor]:
    bias = [] if layer.bias is None else [layer.bias]
    return [layer.weight, *bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_folded_batch_norm_is_that_of_torch_bit_for_bit(transposed: bool, bias: bool, dtype: torch.dtype) -> None:
    """Largest difference: 0, against fuse_conv_bn_weights."""
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer, norm = kind(6, 8, 3, bias=bias).to(dtype), norm_of(8).to(dtype)
    parts = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    expected = fusion.fuse_conv_bn_weights(layer.weight, layer.bias, *parts, transpose=transposed)
    found = FoldBatchNorm(1e-3, transposed=transposed).apply(tuple(parts_of(layer, norm)))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [tensor.dtype for tensor in found] == [dtype, dtype]


FOLDED = [
    ("a convolution of groups", lambda bias: nn.Conv2d(6, 8, 3, groups=2, bias=bias), {}),
    ("a depthwise one", lambda bias: nn.Conv2d(8, 8, 3, groups=8, bias=bias), {}),
    ("a transposed one", lambda bias: nn.ConvTranspose2d(6, 8, 3, bias=bias), {"transposed": True}),
    ("a transposed one of groups", lambda bias: nn.ConvTranspose2d(6, 8, 3, groups=2, bias=bias), {"transposed": True, "groups": 2}),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("make", "parameters"), [case[1:] for case in FOLDED], ids=[case[0] for case in FOLDED])
def test_a_folded_layer_computes_what_layer_and_norm_did(make: Any, parameters: dict[str, Any], bias: bool) -> None:
    layer, norm = make(bias).eval(), norm_of(8)
    image = noise(2, layer.in_channels, 9, 9)
    weight, folded_bias = FoldBatchNorm(1e-3, **parameters).apply(tuple(parts_of(layer, norm)))
    with torch.no_grad():
        before = norm(layer(image))
        layer.weight.copy_(weight)
        layer.bias = nn.Parameter(folded_bias)
        assert torch.allclose(layer(image), before, rtol=1e-4, atol=1e-4)


def test_a_linear_layer_takes_its_norm_in() -> None:
    layer, norm = nn.Linear(6, 8), norm_of(8, nn.BatchNorm1d)
    parts = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    expected = fusion.fuse_linear_bn_weights(layer.weight, layer.bias, *parts)
    found = FoldBatchNorm(1e-3).apply(tuple(parts_of(layer, norm)))
    assert all(torch.allclose(one, other, rtol=1e-6, atol=1e-7) for one, other in zip(found, expected, strict=True))


def test_a_network_without_its_norms_computes_the_same() -> None:
    class Block(nn.Module):
        def __init__(self, *, has_norm: bool) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=not has_norm), norm_of(4) if has_norm else nn.Identity()
            self.conv2, self.bn2 = nn.Conv2d(4, 5, 3, bias=not has_norm), norm_of(5) if has_norm else nn.Identity()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.bn2(self.conv2(self.bn1(self.conv1(image)).relu()))
            return result

    before, after, image = Block(has_norm=True).eval(), Block(has_norm=False), noise(2, 3, 9, 9)
    norm = {f"bn_{part}": f"bn{{i:int}}.{part}" for part in ("running_var", "bias", "weight", "running_mean")}
    fold = {"source": norm | {"weight": "conv{i:int}.weight"}, "target": {"bias": "conv{i}.bias", "weight": "conv{i}.weight"}, "eps": 1e-3}
    surgeon.load(after, before.state_dict(), [{"fold_bn": fold}, {"drop": "*.num_batches_tracked"}])
    with torch.no_grad():
        assert torch.allclose(after(image), before(image), rtol=1e-4, atol=1e-4)


LAYERS: list[tuple[Any, int]] = [
    (lambda: nn.Linear(5, 7), 0),
    (lambda: nn.Conv1d(5, 7, 3), 0),
    (lambda: nn.Conv2d(5, 7, 3), 1),
    (lambda: nn.ConvTranspose1d(5, 7, 3), 1),
    (lambda: nn.Conv1d(5, 7, 3), 2),
]


def shaken(layer: Any) -> Any:
    """A layer with parameters which no initialization gives, so that nothing holds by chance."""
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=i))
    return layer.eval()


@pytest.mark.parametrize(("make", "dim"), LAYERS)
def test_a_baked_weight_norm_is_that_of_torch(make: Any, dim: int) -> None:
    """Largest difference: one step of float32, against both of torch's weight norms."""
    layer = shaken(parametrizations.weight_norm(make(), dim=dim))
    parts = layer.parametrizations.weight
    baked = applied(BakeWeightNorm(dim), parts.original0, parts.original1)
    assert torch.allclose(baked, layer.weight, rtol=1e-6, atol=1e-7)
    assert torch.allclose(applied(BakeWeightNorm(dim - layer.weight.dim()), parts.original0, parts.original1), baked)
    old = nn.utils.weight_norm(make(), dim=dim)
    old.load_state_dict({"bias": layer.bias, "weight_g": parts.original0, "weight_v": parts.original1})
    old(noise(2, 5, 9) if layer.weight.dim() == 3 else noise(2, 5) if layer.weight.dim() == 2 else noise(2, 5, 9, 9))
    assert torch.allclose(baked, old.weight, rtol=1e-6, atol=1e-7)


def test_one_norm_of_a_whole_weight_is_that_of_torch() -> None:
    layer = shaken(parametrizations.weight_norm(nn.Linear(5, 7), dim=None))
    parts = layer.parametrizations.weight
    assert torch.allclose(applied(BakeWeightNorm("all"), parts.original0, parts.original1), layer.weight, rtol=1e-6)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_weight_norm_in_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    magnitude, direction = torch.ones(1, 1, dtype=dtype), torch.full((1, 4), 300.0, dtype=dtype)
    assert applied(BakeWeightNorm(), magnitude, direction).tolist() == [[0.5] * 4], "in float16 the norm would be infinite"


NEWER = ["{m:path}.parametrizations.weight.original0", "{m:path}.parametrizations.weight.original1"]
TO_OLDER = {NEWER[0]: "{m}.weight_g", NEWER[1]: "{m}.weight_v"}


def test_the_older_weight_norm_refuses_the_newer_names_and_takes_them_renamed() -> None:
    newer = nn.Sequential(shaken(parametrizations.weight_norm(nn.Linear(5, 7))))
    older = nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 7)))
    with pytest.raises(RuntimeError, match=r"Missing key.*weight_g"):
        older.load_state_dict(newer.state_dict())
    surgeon.load(older, newer.state_dict(), [{"rename": TO_OLDER}])
    assert torch.allclose(older(noise(2, 5)), newer(noise(2, 5)), rtol=1e-5, atol=1e-6)


def test_the_newer_weight_norm_takes_the_older_names_renamed() -> None:
    older = nn.Sequential(shaken(nn.utils.weight_norm(nn.Linear(5, 7))))
    newer = nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 7)))
    back = {"{m:path}.weight_g": NEWER[0].replace(":path", ""), "{m:path}.weight_v": NEWER[1].replace(":path", "")}
    surgeon.load(newer, older.state_dict(), [{"rename": back}])
    assert torch.allclose(older(noise(2, 5)), newer(noise(2, 5)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_baked_spectral_norm_is_that_of_torch(kind: Any) -> None:
    """Largest difference: 1e-6 of the weight, against both of torch's spectral norms."""
    dim = 1 if kind is nn.ConvTranspose2d else 0
    older, newer, plain, image = (
        nn.utils.spectral_norm(kind(5, 7, 3)),
        parametrizations.spectral_norm(kind(5, 7, 3)),
        kind(5, 7, 3),
        noise(2, 5, 9, 9),
    )
    for layer, names in (
        (older, ("weight_orig", "weight_u", "weight_v")),
        (newer, ("parametrizations.weight." + x for x in ("original", "0._u", "0._v"))),
    ):
        layer(image)
        shaken(layer)
        source = dict(zip(("weight_orig", "weight_u", "weight_v"), names, strict=True))
        surgeon.load(plain, layer.state_dict(), [{"bake_spectral_norm": {"source": source, "target": "weight", "dim": dim}}])
        assert torch.allclose(plain(image), layer(image), rtol=1e-5, atol=1e-5)


INTEGERS = [
    (MergeLora(1), [(4, 4), (1, 4), (4, 1)]),
    (FoldBatchNorm(1e-5), [(4, 4), (4,), (4,), (4,), (4,)]),
    (BakeWeightNorm(), [(4, 1), (4, 4)]),
    (BakeSpectralNorm(), [(4, 4), (4,), (4,)]),
]


@pytest.mark.parametrize(("op", "shapes"), INTEGERS, ids=[op.name for op, _ in INTEGERS])
@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "float8_e4m3fn"])
def test_what_holds_no_weights_as_they_stand_is_refused(op: Any, shapes: list[tuple[int, ...]], dtype: str) -> None:
    from ckpt_surgeon.spec import TensorSpec

    plain = [TensorSpec.of("float32", *shape) for shape in shapes]
    op.infer(tuple(plain))
    for i, shape in enumerate(shapes):
        with pytest.raises(RulesError, match="holds no weights"):
            op.infer((*plain[:i], TensorSpec.of(dtype, *shape), *plain[i + 1 :]))


def test_an_adapter_of_kohya_s_scripts_is_merged_with_the_alpha_which_it_holds(tmp_path):
    """The names and alpha of sd-scripts' networks/lora.py: `lora_name.replace(".", "_")`, a buffer `alpha`, the factor alpha / rank."""
    weight, down, up = torch.randn(6, 4), torch.randn(2, 4), torch.randn(6, 2)
    base = {"mid_block.proj_in.weight": weight, "mid_block.proj_in.bias": torch.randn(6)}
    flat = "lora_unet_mid_block_proj_in"
    adapter = {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(8.0)}
    roles = {
        "weight": "base::{m:path}.weight",
        "lora_a": "{m:path}.lora_A.weight",
        "lora_b": "{m:path}.lora_B.weight",
        "alpha": "{m:path}.alpha",
    }
    rules = {
        "version": 1,
        "sources": {"base": "unset"},
        "presets": ["lora_kohya"],
        "rules": [{"merge_lora": {"source": roles, "target": "{m}.weight"}}, {"copy": {"base::{k:path}.bias": "{k}.bias"}}],
    }
    merged = surgeon.remap(adapter, rules, base, sources={"base": base})
    assert torch.allclose(merged["mid_block.proj_in.weight"], weight + up @ down * 8 / 2, atol=1e-6)
    assert torch.equal(merged["mid_block.proj_in.bias"], base["mid_block.proj_in.bias"])
