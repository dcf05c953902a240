"""The op which turns a dim round: flip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer
from ckpt_surgeon.ops.gathering import Gathered, Rows
from ckpt_surgeon.ops.protocol import Arity, Contract, TensorOp
from ckpt_surgeon.ops.shaping import one_input
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Flip"]


@dataclass(frozen=True, slots=True)
class Flip(Gathered):
    """Put the rows along a dim in the opposite order: a first convolution for BGR images (Caffe, Detectron) becomes one for RGB.

    dim: the input channels of a convolution, 1, by default. Twice is the identity.
    Source: `torch.flip`.

    >>> op = Flip()
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3, 7, 7),)))
    f32[64, 3, 7, 7]
    """

    name: ClassVar[str] = "flip"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    dim: int = 1

    def __post_init__(self) -> None:
        integer(self.dim, "flip: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The same spec."""
        one_input(specs, self.name)
        return Gathered.infer(self, specs)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """Itself."""
        return self

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        return sizes

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        return ((Rows(0, row, 1) for row in reversed(range(sizes[0]))),)
