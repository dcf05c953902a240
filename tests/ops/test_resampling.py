"""resample_patch_embed and resample_pos_embed against timm: its figures and its code written out; and what a patch is answered."""

from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from op_samples import bytes_of
from torch.nn.functional import conv2d, interpolate

from ckpt_surgeon.ops.registry import OPS

FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
GRIDS = [((14, 14), (24, 24)), ((24, 24), (14, 14)), ((7, 28), (14, 14)), ((3, 5), (5, 3)), ((1, 1), (4, 2)), ((16, 16), (7, 7))]


def result(name: str, tensor: torch.Tensor, **parameters: Any) -> torch.Tensor:
    op: Any = OPS[name](**parameters)
    (made,) = op.bind(1, None).apply((tensor,))
    return made


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def ramp(*shape: int) -> torch.Tensor:
    """The input of the stored figures."""
    return ((torch.arange(prod(shape)) * 37 % 101).float() / 101).reshape(shape)


# op, its parameters, the shape of the ramp, and what timm 1.0.31 with torch 2.13.0 made of it: `resample_abs_pos_embed`,
# `resample_patch_embed`, `resize_rel_pos_bias_table_simple` and `resize_rel_pos_bias_table`
FIGURES: list[tuple[str, dict[str, Any], tuple[int, ...], str]] = [
    (
        "resample_pos_embed",
        {"source_grid": (3, 3), "target_grid": (2, 2)},
        (1, 10, 1),
        "0.0 0.5506253 0.3661141 0.6873003 0.5027891",
    ),
    (
        "resample_pos_embed",
        {"source_grid": (3, 3), "target_grid": (4, 3)},
        (10, 1),
        "0.0 0.3611645 0.7275012 0.09383775 0.421445 0.7877817 0.1541183 0.509248 0.8755847 0.2419213 0.5695286 0.9358653 0.3022019",
    ),
    (
        "resample_pos_embed",
        {"source_grid": (2, 4), "target_grid": (4, 2), "prefix_tokens": 0, "interpolation": "bilinear", "antialias": False},
        (1, 8, 1),
        "0.1831683 0.4158416 0.299505 0.4071782 0.5321782 0.3898515 0.6485149 0.3811881",
    ),
    (
        "resample_patch_embed",
        {"patch_size": (3, 3)},
        (1, 1, 4, 4),
        "0.05654304 1.284137 0.4875975 1.512601 0.6608475 0.5717372 1.002966 0.8002011 0.5837655",
    ),
    (
        "resample_patch_embed",
        {"patch_size": (4, 4)},
        (1, 1, 3, 3),
        "-0.02678394 0.1091475 0.2905387 0.403673 0.008772241 0.1551748 0.3475379 0.4652667 0.05779673 0.2071649 0.3995281 "
        "0.5142914 0.0895557 0.2325246 0.4139159 0.520013",
    ),
    (
        "resample_patch_embed",
        {"patch_size": (3, 2), "interpolation": "bilinear", "antialias": False},
        (1, 2, 2, 3),
        "0.005600212 0.656866 0.07760771 0.728873 0.149615 0.8008801 0.1774174 1.050905 0.310031 0.5168518 0.4426444 -0.01720185",
    ),
    (
        "resample_rel_pos_bias",
        {"mode": "bicubic", "source_window": "square", "target_window": (3, 3)},
        (9, 1),
        "-0.04467325 0.1062576 0.3568318 0.607406 0.7583369 -0.003881122 0.1470497 0.3976238 0.6481981 0.7991288 0.06384161 "
        "0.2147724 0.4653465 0.7159208 0.8668516 0.1315644 0.2824952 0.5330694 0.7836437 0.9345745 0.1723565 0.3232874 "
        "0.5738615 0.8244358 0.9753667",
    ),
    (
        "resample_rel_pos_bias",
        {"mode": "bicubic", "source_window": "square", "target_window": (2, 2), "extra_tokens": 3},
        (28, 1),
        "0.2670451 0.6890357 0.387775 0.4435277 0.3960396 0.3485515 0.5414781 0.1030436 0.7788064 0.1584158 0.5247525 0.8910891",
    ),
    (
        "resample_rel_pos_bias",
        {"mode": "geometric", "source_window": "square", "target_window": (2, 2), "extra_tokens": 3},
        (28, 1),
        "0.1980198 0.5643564 0.9306931 0.02970297 0.3960396 0.7623762 0.8613861 0.2277228 0.5940594 0.1584158 0.5247525 0.8910891",
    ),
    (
        "resample_rel_pos_bias",
        {"mode": "geometric", "source_window": (3, 3), "target_window": (4, 4)},
        (25, 1),
        "0.0 0.1221121 0.3663366 0.7326733 0.0990099 0.3432345 0.4653465 0.2772274 0.2882286 0.3102311 0.6765677 0.3762373 "
        "0.3982398 0.409241 0.8316832 0.6204623 0.1980198 0.5643564 0.9306931 0.5082506 0.2970297 0.6633663 0.4521455 "
        "0.02970297 0.3960396 0.7623762 0.3399337 0.1287129 0.4950495 0.6171616 0.8613861 0.2277228 0.5940594 0.838284 "
        "0.9603961 0.3828382 0.5049503 0.7491748 0.1155115 0.4818481 0.7260727 0.8481847 0.3267327 0.4488447 0.6930693 "
        "0.05940594 0.4257426 0.6699671 0.7920792",
    ),
]


@pytest.mark.parametrize(("name", "parameters", "shape", "wanted"), FIGURES)
def test_the_numbers_are_those_of_timm_within_1e_6(name: str, parameters: dict[str, Any], shape: tuple[int, ...], wanted: str) -> None:
    torch.testing.assert_close(
        result(name, ramp(*shape), **parameters).flatten(), torch.tensor([*map(float, wanted.split())]), rtol=0, atol=1e-6
    )


def timm_pos_embed(posemb: torch.Tensor, new: tuple[int, int], old: tuple[int, int], prefix: int, **how: Any) -> torch.Tensor:
    """`resample_abs_pos_embed` of timm.layers.pos_embed, for a table which is to be resampled."""
    kept, posemb = posemb[:, :prefix], posemb[:, prefix:]
    orig_dtype, embed_dim = posemb.dtype, posemb.shape[-1]
    posemb = posemb.float().reshape(1, old[0], old[1], -1).permute(0, 3, 1, 2)
    posemb = interpolate(posemb, size=new, mode=how["interpolation"], antialias=how["antialias"])
    posemb = posemb.permute(0, 2, 3, 1).reshape(1, -1, embed_dim).to(orig_dtype)
    return torch.cat([kept, posemb], dim=1)


@FLOATS
@pytest.mark.parametrize(("old", "new"), GRIDS, ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_absolute_positions_are_those_of_timm_bit_for_bit(
    old: tuple[int, int], new: tuple[int, int], interpolation: str, antialias: bool, dtype: torch.dtype
) -> None:
    how = {"interpolation": interpolation, "antialias": antialias}
    for prefix in (0, 1, 5):
        table = noise(1, prod(old) + prefix, 32, dtype=dtype)
        wanted = timm_pos_embed(table, new, old, prefix, **how)
        made = result("resample_pos_embed", table, source_grid=old, target_grid=new, prefix_tokens=prefix, **how)
        assert torch.equal(made, wanted)
        assert torch.equal(result("resample_pos_embed", table[0], source_grid=old, target_grid=new, prefix_tokens=prefix, **how), wanted[0])


def test_a_grid_of_7_x_28_is_not_one_of_14_x_14_though_they_have_as_many_positions() -> None:
    table = noise(1, 197, 8)
    read_as = {old: result("resample_pos_embed", table, source_grid=old, target_grid=(24, 24)) for old in [(7, 28), (14, 14), (28, 7)]}
    assert len({bytes_of(made) for made in read_as.values()}) == 3
    turned = result("resample_pos_embed", table, source_grid=(14, 14), target_grid=(7, 28))
    assert turned.shape == table.shape
    assert not torch.equal(turned, table)
    assert torch.equal(result("resample_pos_embed", table, source_grid="square", target_grid=(14, 14)), table)


def test_prefix_tokens_stay_bit_for_bit_and_the_first_ones_where_the_target_has_fewer() -> None:
    table = noise(1, 2 + 9, 4, dtype=torch.bfloat16)
    table[0, 0, 0], table[0, 1, 1] = float("nan"), float("-inf")
    made = result("resample_pos_embed", table, source_grid=(3, 3), target_grid=(4, 4), prefix_tokens=2)
    assert bytes_of(made[:, :2]) == bytes_of(table[:, :2])
    fewer = result("resample_pos_embed", table, source_grid=(3, 3), target_grid=(4, 4), prefix_tokens=2, target_prefix_tokens=1)
    assert bytes_of(fewer) == bytes_of(torch.cat([made[:, :1], made[:, 2:]], 1))
    assert not made[:, 2:].isnan().any()


def test_positions_of_double_precision_are_not_rounded_to_float32() -> None:
    table = torch.tensor([[1.0], [1.0 + 2**-40]], dtype=torch.float64)
    made = result("resample_pos_embed", table, source_grid=(1, 2), target_grid=(1, 1), prefix_tokens=0, interpolation="bilinear")
    assert made.item() == 1.0 + 2**-41


def timm_patch_embed(weight: torch.Tensor, new: tuple[int, int], interpolation: str, antialias: bool) -> torch.Tensor:
    """`resample_patch_embed_old` of timm.layers.patch_embed: one pixel after the other, numpy's pseudo-inverse; in double precision."""
    old = tuple(weight.shape[2:])
    columns = []
    for i in range(prod(old)):
        pixel = torch.zeros(prod(old), dtype=torch.float64)
        pixel[i] = 1
        resized = interpolate(pixel.reshape(1, 1, *old), size=new, mode=interpolation, antialias=antialias)
        columns.append(resized.flatten().numpy())
    inverse = torch.from_numpy(np.linalg.pinv(np.stack(columns)))
    resampled = [(inverse @ kernel.double().flatten()).reshape(new) for kernel in weight.flatten(0, 1)]
    return torch.stack(resampled).reshape(*weight.shape[:2], *new)


@pytest.mark.parametrize(("old", "new"), [((16, 16), (14, 14)), ((14, 14), (16, 16)), ((8, 8), (16, 16)), ((4, 6), (5, 3))], ids=str)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_patch_embeddings_are_those_of_timm_within_1e_4(
    old: tuple[int, int], new: tuple[int, int], interpolation: str, antialias: bool
) -> None:
    """Its older code, in double precision; the pseudo-inverse of float32 differs by up to 3e-5."""
    weight = noise(3, 2, *old)
    made = result("resample_patch_embed", weight, patch_size=new, interpolation=interpolation, antialias=antialias)
    torch.testing.assert_close(made, timm_patch_embed(weight, new, interpolation, antialias).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("old", [(8, 8), (5, 7)], ids=str)
def test_an_enlarged_patch_is_answered_as_the_patch_was(old: tuple[int, int]) -> None:
    """Within 1e-4 of answers of the size of 10: what FlexiViT wants of its resize."""
    weight, patch = noise(6, 3, *old), noise(2, 3, *old)
    made = result("resample_patch_embed", weight, patch_size=(16, 16))
    enlarged = interpolate(patch, size=(16, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(conv2d(enlarged, made), conv2d(patch, weight), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_patches_are_resampled_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    weight = noise(4, 3, 8, 8, dtype=dtype)
    made = result("resample_patch_embed", weight, patch_size=(6, 6))
    assert torch.equal(made, result("resample_patch_embed", weight.float(), patch_size=(6, 6)).to(dtype))
