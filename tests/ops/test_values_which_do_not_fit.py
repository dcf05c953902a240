"""What only values tell: a result which its type cannot hold, or which is NaN though nothing before was, is refused and not written."""

import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import LimitError, RulesError

LARGE = 60000.0


def half(*shape):
    return torch.full(shape, LARGE, dtype=torch.float16)


def checkered(rows, columns):
    """Signs which turn at every place: what a bicubic kernel overshoots most."""
    signs = (torch.arange(rows)[:, None] + torch.arange(columns)) % 2 * 2 - 1
    return (signs * 65000.0).to(torch.float16).reshape(rows * columns)


OVERFLOWS = [
    ({"adapt_in_channels": {"match": "w", "mode": "sum", "in_channels": 1}}, half(2, 3, 1, 1)),
    ({"adapt_in_channels": {"match": "w", "mode": "repeat", "in_channels": 1}}, half(2, 6, 1, 1)),
    ({"collapse": {"match": "w"}}, half(2, 3, 3, 1, 1)),
    ({"resample_patch_embed": {"match": "w", "patch_size": [2, 2]}}, half(1, 1, 4, 4)),
    (
        {"resample_pos_embed": {"match": "w", "prefix_tokens": 0, "source_grid": [4, 4], "target_grid": [7, 7]}},
        checkered(4, 4).reshape(1, 16, 1),
    ),
    (
        {"resample_rel_pos_bias": {"match": "w", "mode": "bicubic", "source_window": [3, 3], "target_window": [4, 4]}},
        checkered(5, 5).reshape(25, 1),
    ),
]


@pytest.mark.parametrize(("rule", "weight"), OVERFLOWS, ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_a_finite_result_which_float16_cannot_hold_is_refused(rule, weight):
    with pytest.raises(RulesError, match=r"^w: .* in its result is too large for float16"):
        surgeon.remap({"w": weight}, [rule])
    assert surgeon.remap({"w": weight.float()}, [rule])["w"].isfinite().all()


def test_what_is_infinite_before_may_be_so_after():
    made = surgeon.remap({"w": torch.full((1, 3), torch.inf, dtype=torch.float16)}, [{"collapse": {"match": "w", "dim": 1}}])
    assert made["w"].isinf().all()


FOLD = {
    "fold_bn": {
        "source": {"weight": "w", "bn_weight": "g", "bn_bias": "b", "bn_running_mean": "m", "bn_running_var": "v"},
        "target": {"weight": "w", "bias": "c"},
        "eps": 1e-5,
    }
}
ONES = torch.ones(2)
NOTHING = [
    (
        FOLD,
        {"w": torch.ones(2, 3), "g": ONES, "b": ONES, "m": ONES, "v": torch.tensor([1.0, -1.0])},
        r"bn_running_var \+ eps is 0 or less \(1 of 2\)",
    ),
    (
        {"bake_weight_norm": {"source": {"g": "g", "v": "w"}, "target": "w"}},
        {"g": torch.ones(2, 1), "w": torch.tensor([[1.0, 2.0], [0.0, 0.0]])},
        r"the length of v is 0 or less \(1 of 2\)",
    ),
    (
        {"bake_spectral_norm": {"source": {"weight_orig": "w", "weight_u": "u", "weight_v": "v"}, "target": "w"}},
        {"w": torch.ones(2, 3), "u": torch.zeros(2), "v": torch.zeros(3)},
        r"sigma is 0 or less \(it\)",
    ),
]


@pytest.mark.parametrize(("rule", "tensors", "says"), NOTHING, ids=["fold_bn", "bake_weight_norm", "bake_spectral_norm"])
def test_a_division_by_nothing_is_refused(rule, tensors, says):
    with pytest.raises(RulesError, match=says):
        surgeon.remap(tensors, [rule])


def test_numbers_are_drawn_into_types_of_one_byte_too():
    for dtype in ("float8_e4m3fn", "float8_e5m2"):
        made = surgeon.remap({"w": ONES}, [{"init": {"match": "n", "value": "normal", "shape": [64], "dtype": dtype}}])["n"]
        assert made.dtype == getattr(torch, dtype)
        assert made.float().isfinite().all()


def test_a_result_for_which_there_is_no_memory_is_told():
    with pytest.raises(LimitError, match="pad: there is no memory for its result"):
        surgeon.remap({"w": torch.ones(4, 3)}, [{"pad": {"match": "w", "before": 2**40, "after": 1}}])
