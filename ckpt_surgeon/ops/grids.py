"""Positions on a grid `[h, w]`: how a rule states one, how a count of positions tells one, and values moved from one to another."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.arguments import integers
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["check_told", "grid_or", "interpolated", "rows_of", "square_side", "with_rows"]


def grid_or(value: Any, word: str, what: str) -> Any:
    """Two sizes of 1 or more, height and width; or the word which stands for them."""
    if value == word:
        return word
    grid = integers(value, what)
    if len(grid) != 2 or min(grid) < 1:
        raise RulesError(f"{what} is {list(grid)}; a height and a width of 1 or more are wanted, or `{word}`")
    return grid


def square_side(count: int) -> int | None:
    """The side of the square grid of so many positions, or None where they make none."""
    side = isqrt(max(count, 0))
    return side if side and side * side == count else None


def check_told(name: str, old: tuple[int, int], new: tuple[int, int], word: str) -> None:
    """RulesError where the target only told its number of positions, and that is what there is: 7 x 28 are as many as 14 x 14."""
    if old == new:
        what = f"the target has as many positions as the source's {old[0]} x {old[1]}, and their number does not tell its grid"
        raise RulesError(
            f"{name}: {what}", hint=f"State `{word}: [h, w]`; `when: mismatched` and `expect: any` leave out a key which fits already."
        )


def rows_of(spec: TensorSpec, name: str) -> int:
    """The number of positions of a table `[n, d]` or `[1, n, d]`."""
    if not (len(spec.shape) == 2 or (len(spec.shape) == 3 and spec.shape[0] == 1)):
        raise RulesError(f"{name}: {spec} is no table of positions", hint="What fits: [n, d] or [1, n, d]; `reshape` it before.")
    if not spec.numel:
        raise RulesError(f"{name}: {spec} holds no positions")
    return spec.shape[-2]


def with_rows(spec: TensorSpec, count: int) -> tuple[int, ...]:
    """The shape of a table with another number of positions."""
    return (*spec.shape[:-2], count, spec.shape[-1])


def interpolated(rows: torch.Tensor, old: tuple[int, int], new: tuple[int, int], **how: Any) -> torch.Tensor:
    """`[h * w, d] -> [new h * new w, d]`, by `interpolate` on `[1, d, h, w]`, laid out as in timm, so that sums are the same."""
    from torch.nn.functional import interpolate

    image = rows.reshape(1, *old, -1).permute(0, 3, 1, 2)
    return interpolate(image, size=new, align_corners=False, **how).permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)
