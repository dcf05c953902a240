"""resample_rel_pos_bias: the table of relative positions of a windowed transformer for another window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.geometric import geometric_weights
from ckpt_surgeon.ops.grids import check_told, grid_or, interpolated, rows_of, square_side, with_rows
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.precision import check_weights, narrowed, widened
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ResampleRelPosBias"]

_MODES = ("bicubic", "geometric")


@dataclass(frozen=True, slots=True)
class ResampleRelPosBias(TensorDefaults):
    """Interpolate a table `[(2h - 1) * (2w - 1) + extra_tokens, heads]` of relative positions from one window to another.

    - `bicubic`: Source: Swin's `load_pretrained`, and timm's `resize_rel_pos_bias_table_simple`.
    - `geometric`: the source's distances are spread as a geometric progression, so that near ones keep their meaning, and values
      between them are linear. Source: BEiT's fine-tuning code, and timm's `resize_rel_pos_bias_table` (without scipy).

    The last `extra_tokens` rows (3 in BEiT: class token to token, token to class token, to itself) stay as they are. Computed in at
    least float32, cast back. source_window: `[h, w]`, or `square`. target_window: `[h, w]`, or `target`: the square window of the
    target's table; it must be stated where the source's is not square, and where the number of rows is the same.
    is_told: filled in; the window is the target's.

    >>> op = ResampleRelPosBias("bicubic", source_window=(7, 7), target_window=(12, 12))
    >>> print(*op.infer((TensorSpec.of("float32", 169, 3),)))
    f32[529, 3]
    """

    name: ClassVar[str] = "resample_rel_pos_bias"
    body: ClassVar[Body] = Body(filled=("is_told",))
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    mode: Literal["bicubic", "geometric"]
    source_window: tuple[int, int] | Literal["square"]
    target_window: tuple[int, int] | Literal["target"]
    extra_tokens: int = 0
    is_told: bool | None = None

    def __post_init__(self) -> None:
        one_of(self.mode, _MODES, f"{self.name}: mode")
        assign(self, source_window=grid_or(self.source_window, "square", f"{self.name}: source_window"))
        assign(self, target_window=grid_or(self.target_window, "target", f"{self.name}: target_window"))
        if integer(self.extra_tokens, f"{self.name}: extra_tokens") < 0:
            raise RulesError(f"{self.name}: extra_tokens is {self.extra_tokens}; 0 or more is wanted")
        if self.target_window == "target" and self.source_window != "square" and self.source_window[0] != self.source_window[1]:
            what = f"source_window {list(self.source_window)} is not square, and the target's number of rows tells no window"
            raise RulesError(f"{self.name}: {what}", hint="State `target_window: [h, w]`.")

    @property
    def needs_target(self) -> bool:
        """Whether the window is the target's."""
        return self.target_window == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> ResampleRelPosBias:
        """With the square window of the target's table, if it is to be that."""
        if self.target_window != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        target = one_input(targets, self.name)
        side = self._side(target, f"the target's {target}", "target_window")
        return replace(self, target_window=(side, side), is_told=True)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the rows of the new window."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name, is_real=True)
        old, new = self._windows(spec)
        if self.is_told:
            check_told(self.name, old, new, "target_window")
        height, width = _distances(new)
        return (bounded(with_rows(spec, height * width + self.extra_tokens), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The table of the new window."""
        import torch

        (tensor,) = tensors
        old, new = map(_distances, self._windows(TensorSpec.of("float32", *tensor.shape)))
        rows = tensor.detach()
        table, extra = rows[: old[0] * old[1]], rows[old[0] * old[1] :]
        if old != new:
            values = widened(table).contiguous()
            resized = _geometric(values, old, new) if self.mode == "geometric" else interpolated(values, old, new, mode="bicubic")
            table = narrowed(resized, tensor.dtype, self.name)
        return (same_type(torch.cat([as_movable(table), as_movable(extra)]), tensor),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """All bytes as they are, where the window stays."""
        return (filled([Run(0, 0, specs[0].nbytes)]),) if self._is_same(specs) else None

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op itself, where the window stays."""
        return self if self._is_same(specs) else None

    def _is_same(self, specs: tuple[TensorSpec, ...]) -> bool:
        old, new = self._windows(one_input(specs, self.name))
        return old == new

    def _windows(self, spec: TensorSpec) -> tuple[tuple[int, int], tuple[int, int]]:
        """The source's window and the target's."""
        if self.target_window == "target":
            raise self._lacks_target()
        if self.source_window == "square":
            side = self._side(spec, str(spec), "source_window")
            return (side, side), self.target_window
        rows, (height, width) = self._rows(spec), _distances(self.source_window)
        if rows != height * width + self.extra_tokens:
            wanted = f"{height} x {width} distances and {self.extra_tokens} extra tokens are {height * width + self.extra_tokens}"
            raise RulesError(f"{self.name}: dim 0 of {spec} has {rows} rows; {wanted}")
        return self.source_window, self.target_window

    def _side(self, spec: TensorSpec, of: str, parameter: str) -> int:
        """The side of a square window, whose distances are 2 * side - 1."""
        distances = square_side(self._rows(spec) - self.extra_tokens)
        if distances is None or distances % 2 == 0:
            what = f"{of} has {spec.shape[0]} rows; less {self.extra_tokens} extra tokens they are no square window's"
            raise RulesError(f"{self.name}: {what}", hint=f"State `{parameter}: [h, w]`, or the number of extra tokens (3 in BEiT).")
        return (distances + 1) // 2

    def _rows(self, spec: TensorSpec) -> int:
        if len(spec.shape) != 2:
            raise RulesError(f"{self.name}: {spec} is no table of relative positions", hint="What fits: [rows, heads].")
        return rows_of(spec, self.name)

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: target_window is the target's, and there is none", hint="Give a target, or [h, w].")


def _distances(window: tuple[int, int]) -> tuple[int, int]:
    """How many relative positions there are within a window, down and across."""
    return 2 * window[0] - 1, 2 * window[1] - 1


def _geometric(rows: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """`[old h * old w, heads] -> [new h * new w, heads]`."""
    import torch

    down, across = (torch.tensor(geometric_weights(*sizes), dtype=rows.dtype) for sizes in zip(old, new, strict=True))
    return torch.einsum("ah,bw,hwn->abn", down, across, rows.reshape(*old, -1)).reshape(new[0] * new[1], -1)
