"""slerp: between two tensors along the arc, not along the chord."""

from __future__ import annotations

from math import acos, sin
from typing import TYPE_CHECKING, ClassVar, Final

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, number
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import all_widened, narrowed
from ckpt_surgeon.ops.protocol import Arity, Contract
from ckpt_surgeon.ops.shaping import weights_alike
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Slerp"]

# mergekit's: beyond this cosine the arc is as good as straight, and the sine of its angle too small to divide by.
_PARALLEL: Final = 0.9995
_NO_LENGTH: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Slerp(TensorDefaults):
    """Interpolate between two tensors of one shape, each taken as one long vector: `t = 0` is the first, `t = 1` the second.

    With the angle `w` between them: `(sin((1 - t) w) a + sin(t w) b) / sin(w)`; where they are nearly parallel (a cosine beyond
    0.9995, either way), `(1 - t) a + t b`. In the type of the first.

    Source: mergekit, `merge_methods/slerp.py`.

    >>> op = Slerp(t=0.5)
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3), TensorSpec.of("float32", 64, 3))))
    f32[64, 3]
    """

    name: ClassVar[str] = "slerp"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"

    t: float

    def __post_init__(self) -> None:
        assign(self, t=number(self.t, "slerp: t"))
        if not 0 <= self.t <= 1:
            raise RulesError(f"slerp: t is {self.t}; it is from 0 to 1")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of the first; the second must be of its shape."""
        if len(specs) != 2:
            raise RulesError(f"slerp: {len(specs)} inputs; it takes two tensors")
        return (weights_alike(specs, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensor on the way."""
        first, second = all_widened(tensors)
        a, b = self._shares(_cosine(first, second))
        return (narrowed(first * a + second * b, tensors[0].dtype, self.name),)

    def _shares(self, cosine: float) -> tuple[float, float]:
        """How much of either tensor is taken."""
        if not abs(cosine) <= _PARALLEL:
            return 1.0 - self.t, self.t
        angle = acos(cosine)
        return sin((1.0 - self.t) * angle) / sin(angle), sin(self.t * angle) / sin(angle)


def _cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of the angle between two tensors, summed up in float64; one without length counts as it stands."""
    import torch

    lengths = [float(torch.linalg.vector_norm(each, dtype=torch.float64)) for each in (first, second)]
    product = float((first * second).sum(dtype=torch.float64))
    for length in lengths:
        product /= length if length > _NO_LENGTH else 1.0
    return product
