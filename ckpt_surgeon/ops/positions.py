"""resample_positions: a table of positions along a sequence for another length."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer, one_of, truth
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.grids import rows_of, with_rows
from ckpt_surgeon.ops.movable import as_movable, same_type
from ckpt_surgeon.ops.precision import check_weights, widened
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.shaping import bounded, filled, one_input
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ResamplePositions"]

_MODES = ("slice", "linear", "repeat", "zero")
_MOST_RUNS = 1024  # beyond, a table is rather repeated as a tensor than as runs of bytes


@dataclass(frozen=True, slots=True)
class ResamplePositions(TensorDefaults):
    """Give a table `[n, d]` or `[1, n, d]` of learned positions another number of rows.

    - `slice`: the first rows.
    - `linear`: interpolated along the sequence, as torch's `interpolate` does it with `align_corners`, which must be stated.
    - `repeat`: the rows again from the start, and cut. Source: Longformer's `create_long_model`.
    - `zero`: zeros behind them.

    size: rows of the result, the kept ones included; or `target`. keep: so many first rows stay as they are and are no part of the
    sequence (2 in BART and OPT, whose positions start at 2). `linear` is computed in at least float32, cast back.

    >>> op = ResamplePositions("repeat", size=4098, keep=2)
    >>> print(*op.infer((TensorSpec.of("float32", 514, 768),)))
    f32[4098, 768]
    """

    name: ClassVar[str] = "resample_positions"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    mode: Literal["slice", "linear", "repeat", "zero"]
    size: int | Literal["target"]
    keep: int = 0
    align_corners: bool | None = None

    def __post_init__(self) -> None:
        one_of(self.mode, _MODES, f"{self.name}: mode")
        if integer(self.keep, f"{self.name}: keep") < 0:
            raise RulesError(f"{self.name}: keep is {self.keep}; 0 or more is wanted")
        if self.size != "target" and integer(self.size, f"{self.name}: size") <= self.keep:
            raise RulesError(f"{self.name}: size is {self.size}; more than the {self.keep} rows which are kept is wanted")
        if self.align_corners is not None:
            truth(self.align_corners, f"{self.name}: align_corners")
        if (self.mode == "linear") != (self.align_corners is not None):
            wants = "wants align_corners: true or false" if self.mode == "linear" else "takes no align_corners"
            raise RulesError(f"{self.name}: mode {self.mode} {wants}")

    @property
    def needs_target(self) -> bool:
        """Whether the size is the target's."""
        return self.size == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> ResamplePositions:
        """With the target's number of rows, if it is to be that."""
        if self.size != "target":
            return self
        if targets is None:
            raise self._lacks_target()
        return replace(self, size=rows_of(one_input(targets, self.name), self.name))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the new number of rows."""
        spec = one_input(specs, self.name)
        check_weights(spec, self.name, is_real=True)
        rows, size = rows_of(spec, self.name), self._size()
        of = f"{self.name}: dim {len(spec.shape) - 2} of {spec} has {rows} rows"
        if rows <= self.keep:
            raise RulesError(f"{of}; none is left behind the {self.keep} which are kept")
        if self.mode == "slice" and size > rows:
            raise RulesError(f"{of}, fewer than {size}", hint="`linear`, `repeat` and `zero` make a table longer.")
        if self.mode in ("repeat", "zero") and size < rows:
            raise RulesError(f"{of}, more than {size}", hint="`slice` and `linear` make a table shorter.")
        return (bounded(with_rows(spec, size), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The longer or shorter table."""
        import torch

        (tensor,) = tensors
        rows = tensor.detach().reshape(tensor.shape[-2:])
        kept, moved = as_movable(rows[: self.keep]), as_movable(rows[self.keep :])
        wanted = self._size() - self.keep
        if wanted == len(moved):
            parts = [moved]
        elif self.mode == "linear":
            parts = [as_movable(self._interpolated(rows[self.keep :], wanted))]
        elif self.mode == "zero":
            parts = [moved, moved.new_zeros((wanted - len(moved), moved.shape[1]))]
        else:
            parts = [moved[:length] for length in self._pieces(len(moved))]
        joined = torch.cat([kept, *parts])
        return (same_type(joined, tensor).reshape(*tensor.shape[:-2], *joined.shape),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The rows which are taken; None where some are computed or zeros, or are taken too often."""
        spec = one_input(specs, self.name)
        rows, size, row = rows_of(spec, self.name), self._size(), spec.shape[-1] * spec.dtype.itemsize
        if size == rows or self.mode == "slice":
            return (filled([Run(0, 0, size * row)]),)
        if self.mode != "repeat" or size > rows * _MOST_RUNS:
            return None
        first, *others = self._pieces(rows - self.keep)
        start = Run(0, 0, (self.keep + first) * row)
        return (filled([start, *(Run(0, self.keep * row, length * row) for length in others)]),)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The slice to the rows which were there, where none was changed or left out."""
        rows = rows_of(one_input(specs, self.name), self.name)
        return ResamplePositions("slice", rows) if self.mode in ("repeat", "zero") or self._size() == rows else None

    def _pieces(self, rows: int) -> list[int]:
        """How many of the old rows are taken, each time that they are taken from the start."""
        wanted = self._size() - self.keep
        return [min(rows, wanted - start) for start in range(0, wanted, rows)]

    def _interpolated(self, rows: torch.Tensor, wanted: int) -> torch.Tensor:
        from torch.nn.functional import interpolate

        sequence = widened(rows).contiguous().T[None]
        resized = interpolate(sequence, size=wanted, mode="linear", align_corners=self.align_corners)
        return resized[0].T.to(rows.dtype).contiguous()

    def _size(self) -> int:
        if self.size == "target":
            raise self._lacks_target()
        return self.size

    def _lacks_target(self) -> RulesError:
        return RulesError(f"{self.name}: size is the target's, and there is none", hint="Give a target, or a number.")
