"""resample_rel_pos_bias and resample_positions against their sources, written out with numpy and plain loops."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_samples import bytes_of
from torch.nn.functional import interpolate

from ckpt_surgeon.ops.geometric import geometric_weights
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.spec import TensorSpec

Numbers = np.ndarray[Any, np.dtype[np.float64]]
WINDOWS = pytest.mark.parametrize(("old", "new"), [((7, 7), (12, 12)), ((12, 12), (7, 7)), ((7, 7), (24, 24)), ((3, 5), (6, 2))], ids=str)


def result(name: str, tensor: torch.Tensor, *parameters: Any, **named: Any) -> torch.Tensor:
    op: Any = OPS[name](*parameters, **named)
    (made,) = op.bind(1, None).apply((tensor,))
    return made


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def distances(window: tuple[int, int]) -> tuple[int, int]:
    return 2 * window[0] - 1, 2 * window[1] - 1


@WINDOWS
@pytest.mark.parametrize("extra", [0, 3])
def test_bicubic_biases_are_those_of_swin_bit_for_bit(old: tuple[int, int], new: tuple[int, int], extra: int) -> None:
    """`load_pretrained` of Swin, and `resize_rel_pos_bias_table_simple` of timm."""
    (height, width), wanted = distances(old), distances(new)
    table = noise(height * width + extra, 6)
    grid = table[: height * width]
    resized = interpolate(grid.transpose(1, 0).reshape(1, -1, height, width), size=wanted, mode="bicubic", align_corners=False)
    expected = torch.cat([resized.view(6, -1).transpose(0, 1), table[height * width :]])
    assert torch.equal(result("resample_rel_pos_bias", table, "bicubic", old, new, extra), expected)


def beit_places(old: int, new: int) -> list[float]:
    """`_calc` of timm's `resize_rel_pos_bias_table`."""

    def geometric_progression(a: float, r: float, n: int) -> float:
        return a * (1.0 - r**n) / (1.0 - r)

    left, right = 1.01, 1.5
    while right - left > 1e-6:
        q = (left + right) / 2.0
        if geometric_progression(1, q, old // 2) > new // 2:
            right = q
        else:
            left = q
    dis, cur = [], 1.0
    for i in range(old // 2):
        dis.append(cur)
        cur += q ** (i + 1)
    return [*(-each for each in reversed(dis)), 0.0, *dis]


def between(places: list[float], new: int, values: Numbers) -> Numbers:
    """Linear along the first dim, the last values beyond the ends."""
    at = np.arange(-(new // 2), new // 2 + 1)
    return np.stack([np.interp(at, places, column) for column in values.T], axis=1)


@WINDOWS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_geometric_biases_are_those_of_beit_within_2e_6(old: tuple[int, int], new: tuple[int, int], dtype: torch.dtype) -> None:
    """Each head by numpy, first down, then across; of half precision, the nearest numbers or their neighbors."""
    (height, width), (rows, columns) = distances(old), distances(new)
    table = noise(height * width + 3, 4, dtype=dtype)
    made = result("resample_rel_pos_bias", table, "geometric", old, new, 3)
    for head in range(4):
        grid = table[: height * width, head].double().numpy().reshape(height, width)
        down = between(beit_places(height, rows), rows, grid)
        wanted = torch.from_numpy(between(beit_places(width, columns), columns, down.T).T).flatten()
        tolerance = 1e-3 if dtype == torch.float16 else 2e-6
        torch.testing.assert_close(made[:-3, head].double(), wanted, rtol=tolerance, atol=tolerance)
    assert torch.equal(made[-3:], table[-3:])


@given(st.integers(1, 20), st.integers(1, 20))
def test_geometric_weights_are_means_which_keep_the_middle_and_the_sides_alike(old: int, new: int) -> None:
    weights = np.array(geometric_weights(2 * old - 1, 2 * new - 1))
    assert weights.shape == (2 * new - 1, 2 * old - 1)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(1), 1, rtol=0, atol=1e-12)
    assert np.allclose(weights, weights[::-1, ::-1], rtol=0, atol=1e-9)
    assert weights[new - 1, old - 1] == 1
    centers = weights @ np.arange(2 * old - 1)
    assert all(first <= second + 1e-12 for first, second in pairwise(centers))


def test_a_window_of_2_x_14_is_not_one_of_5_x_5_though_they_have_as_many_distances() -> None:
    table = noise(81, 4)
    assert not torch.equal(result("resample_rel_pos_bias", table, "bicubic", (2, 14), (5, 5)), table)
    assert torch.equal(result("resample_rel_pos_bias", table, "bicubic", "square", (5, 5)), table)


@pytest.mark.parametrize(("rows", "size", "keep"), [(514, 4098, 2), (10, 25, 2), (5, 6, 0), (5, 5, 1)])
def test_repeated_positions_are_those_of_longformer_bit_for_bit(rows: int, size: int, keep: int) -> None:
    """`create_long_model`: from row k on, the positions again and again; here the last time cut."""
    table = noise(rows, 8)
    wanted = table.new_empty(size, 8)
    wanted[:keep] = table[:keep]
    k, step = keep, rows - keep
    while k < size:
        wanted[k : k + step] = table[keep:][: size - k]
        k += step
    assert torch.equal(result("resample_positions", table, "repeat", size, keep), wanted)


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 2), st.booleans())
def test_linear_positions_are_those_between_their_neighbors_within_2e_6(rows: int, size: int, keep: int, corners: bool) -> None:
    """numpy's `interp` at the places which torch documents for `align_corners`."""
    table = noise(keep + rows, 3)
    centers = (np.arange(size) + 0.5) * rows / size - 0.5
    at = np.linspace(0, rows - 1, size) if corners else centers
    wanted = np.stack([np.interp(at, np.arange(rows), column) for column in table[keep:].double().numpy().T], axis=1)
    made = result("resample_positions", table, "linear", keep + size, keep, align_corners=corners)
    assert torch.equal(made[:keep], table[:keep])
    torch.testing.assert_close(made[keep:].double(), torch.from_numpy(wanted), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", ["zero", "repeat"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_a_longer_table_begins_with_the_one_which_was_there(mode: str, dtype: torch.dtype) -> None:
    table = noise(1, 6, 4).to(dtype)
    made = result("resample_positions", table, mode, 14, 2)
    assert bytes_of(made[:, :6]) == bytes_of(table)
    assert bool(made[:, 6:].float().abs().sum()) == (mode == "repeat")


@pytest.mark.parametrize(
    ("mode", "size", "runs"),
    [("slice", 3, [(0, 24)]), ("repeat", 12, [(0, 40), (16, 24), (16, 24), (16, 8)]), ("zero", 9, None), ("repeat", 9000, None)],
)
def test_rows_are_moved_as_runs_of_bytes_unless_there_are_too_many(mode: str, size: int, runs: list[tuple[int, int]] | None) -> None:
    op: Any = OPS["resample_positions"](mode, size, 0 if mode == "slice" else 2)
    spans = op.spans((TensorSpec.of("float32", 5, 2),))
    assert (None if spans is None else [(run.offset, run.nbytes) for run in spans[0]]) == runs
