"""resample_pos_embed: the position embeddings of a vision transformer for another number of patches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, one_of, truth
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.grids import check_told, grid_or, interpolated, rows_of, square_side, with_rows
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.precision import check_weights, narrowed, widened
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ResamplePosEmbed"]

_INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True, slots=True)
class ResamplePosEmbed(TensorDefaults):
    """Interpolate a table `[1, n, d]` or `[n, d]` of absolute positions from one grid of patches to another.

    The first `prefix_tokens` rows (class and register tokens) are no positions of the grid and stay as they are; the others are
    the grid, row by row. Computed in at least float32, cast back. Source: timm's `resample_abs_pos_embed`.

    source_grid: `[h, w]`, or `square`. target_grid: `[h, w]`, or `target`: the square grid of the target's positions; since 7 x 28
    positions are as many as 14 x 14, it must be stated where the source's is not square, and where the number is the same.
    target_prefix_tokens: the target's, where it has fewer: the first ones stay. is_told: filled in; the grid is the target's.
    antialias: as torch has it; it matters for a smaller grid only.

    >>> op = ResamplePosEmbed(source_grid=(14, 14), target_grid=(24, 24))
    >>> print(*op.infer((TensorSpec.of("float32", 1, 197, 768),)))
    f32[1, 577, 768]
    """

    name: ClassVar[str] = "resample_pos_embed"
    body: ClassVar[Body] = Body(filled=("is_told",))
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    source_grid: tuple[int, int] | Literal["square"]
    target_grid: tuple[int, int] | Literal["target"]
    prefix_tokens: int = 1
    target_prefix_tokens: int | None = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    is_told: bool | None = None

    def __post_init__(self) -> None:
        assign(self, source_grid=grid_or(self.source_grid, "square", f"{self.name}: source_grid"))
        assign(self, target_grid=grid_or(self.target_grid, "target", f"{self.name}: target_grid"))
        one_of(self.interpolation, _INTERPOLATIONS, f"{self.name}: interpolation")
        truth(self.antialias, f"{self.name}: antialias")
        if integer(self.prefix_tokens, f"{self.name}: prefix_tokens") < 0:
            raise RulesError(f"{self.name}: prefix_tokens is {self.prefix_tokens}; 0 or more is wanted")
        if not 0 <= integer(self._kept(), f"{self.name}: target_prefix_tokens") <= self.prefix_tokens:
            what = f"{self.name}: target_prefix_tokens is {self.target_prefix_tokens}; the source has {self.prefix_tokens}"
            raise RulesError(what, hint="They can be left out, not made; `concat` joins rows made by `init`.")
        if self.target_grid == "target" and self.source_grid != "square" and self.source_grid[0] != self.source_grid[1]:
            what = f"{self.name}: source_grid {list(self.source_grid)} is not square, and the target's number of positions tells no grid"
            raise RulesError(what, hint="State `target_grid: [h, w]`.")

    @property
    def needs_target(self) -> bool:
        """Whether the grid is the target's."""
        return self.target_grid == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> ResamplePosEmbed:
        """With the square grid of the target's positions, if it is to be that."""
        if self.target_grid != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        target = one_input(targets, self.name)
        side = self._side(target, self._kept(), f"the target's {target}", "target_grid")
        return replace(self, target_grid=(side, side), is_told=True)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the rows of the new grid."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name, is_real=True)
        old, new = self._grids(spec)
        if self.is_told:
            check_told(self.name, old, new, "target_grid")
        return (bounded(with_rows(spec, self._kept() + new[0] * new[1]), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The table of the new grid."""
        import torch

        (tensor,) = tensors
        rows = tensor.detach().reshape(tensor.shape[-2:])
        old, new = self._grids(TensorSpec.of("float32", *tensor.shape))
        grid = rows[self.prefix_tokens :]
        if old != new:
            how = {"mode": self.interpolation, "antialias": self.antialias}
            grid = narrowed(interpolated(widened(grid).contiguous(), old, new, **how), tensor.dtype, self.name)
        joined = torch.cat([as_movable(rows[: self._kept()]), as_movable(grid)])
        return (same_type(joined, tensor).reshape(*tensor.shape[:-2], *joined.shape),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The rows which stay, where the grid does."""
        spec = one_input(specs, self.name)
        old, new = self._grids(spec)
        if old != new:
            return None
        row, dropped = spec.shape[-1] * spec.dtype.itemsize, self.prefix_tokens - self._kept()
        if not dropped:
            return (filled([Run(0, 0, spec.nbytes)]),)
        grid = Run(0, self.prefix_tokens * row, old[0] * old[1] * row)
        return (filled([Run(0, 0, self._kept() * row), grid]),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op itself, where it changes nothing."""
        return self if self.infer(specs) == specs and self.spans(specs) is not None else None

    def _kept(self) -> int:
        return self.prefix_tokens if self.target_prefix_tokens is None else self.target_prefix_tokens

    def _grids(self, spec: TensorSpec) -> tuple[tuple[int, int], tuple[int, int]]:
        """The source's grid and the target's."""
        if self.target_grid == "target":
            raise self._lacks_target()
        if self.source_grid == "square":
            side = self._side(spec, self.prefix_tokens, str(spec), "source_grid")
            return (side, side), self.target_grid
        rows, (height, width) = rows_of(spec, self.name), self.source_grid
        if rows != self.prefix_tokens + height * width:
            wanted = f"{height} x {width} and {self.prefix_tokens} prefix tokens are {height * width + self.prefix_tokens}"
            raise RulesError(f"{self.name}: dim {len(spec.shape) - 2} of {spec} has {rows} positions; {wanted}")
        return self.source_grid, self.target_grid

    def _side(self, spec: TensorSpec, prefix: int, of: str, parameter: str) -> int:
        rows = rows_of(spec, self.name)
        side = square_side(rows - prefix)
        if side is None:
            fits = [count for count in range(max(0, prefix - 2), prefix + 6) if square_side(rows - count)]
            hint = f"State `{parameter}: [h, w]`" + (f", or a number of prefix tokens which leaves a square: {fits[0]}." if fits else ".")
            raise RulesError(f"{self.name}: {of} has {rows} rows; less {prefix} prefix tokens they are no square grid", hint=hint)
        return side

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: target_grid is the target's, and there is none", hint="Give a target, or [h, w].")
