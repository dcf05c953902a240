"""Arithmetic of whole checkpoints, element by element: scale, add, average, ema, task_vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, number, numbers
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import all_widened, narrowed
from ckpt_surgeon.ops.protocol import Arity, Contract
from ckpt_surgeon.ops.shaping import one_input, weights_alike
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Add", "Average", "Ema", "Scale", "TaskVector"]


@dataclass(frozen=True, slots=True)
class Scale(TensorDefaults):
    """Multiply by a number, in at least float32.

    >>> op = Scale(by=0.5)
    >>> print(*op.infer((TensorSpec.of("bfloat16", 768, 512),)))
    bf16[768, 512]
    """

    name: ClassVar[str] = "scale"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    by: float

    def __post_init__(self) -> None:
        assign(self, by=number(self.by, "scale: by"))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The same spec."""
        return (weights_alike((one_input(specs, self.name),), self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The scaled tensor."""
        return (_sum(all_widened(tensors), (self.by,), tensors[0].dtype, self.name),)


@dataclass(frozen=True, slots=True)
class Add(TensorDefaults):
    """The sum of tensors of one shape, each times its weight (1 where there are none), in the type of the first.

    >>> op = Add(weights=(1, -1))
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3), TensorSpec.of("float32", 64, 3))))
    f32[64, 3]
    """

    name: ClassVar[str] = "add"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            assign(self, weights=numbers(self.weights, "add: weights"))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of the first; all must be of its shape."""
        _factors(self.weights, len(specs), "add: weights")
        return (weights_alike(specs, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The sum."""
        factors = _factors(self.weights, len(tensors), "add: weights")
        return (_sum(all_widened(tensors), factors, tensors[0].dtype, self.name),)


@dataclass(frozen=True, slots=True)
class Average(TensorDefaults):
    """The mean of tensors of one shape, weighted by `weights` where they are given: a soup of models. In the type of the first.

    `(w_1 t_1 + w_2 t_2 + ...) / (w_1 + w_2 + ...)`. Source: Wortsman et al., 2022, "Model soups".

    >>> op = Average()
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3), TensorSpec.of("float32", 64, 3))))
    f32[64, 3]
    """

    name: ClassVar[str] = "average"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.weights is not None:
            assign(self, weights=numbers(self.weights, "average: weights"))
            if not sum(self.weights):
                raise RulesError(f"average: weights {list(self.weights)} add up to 0", hint="`add` takes sums as they are.")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of the first; all must be of its shape."""
        _factors(self.weights, len(specs), "average: weights")
        return (weights_alike(specs, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The mean."""
        factors = _factors(self.weights, len(tensors), "average: weights")
        return (_sum(all_widened(tensors), factors, tensors[0].dtype, self.name, over=sum(factors)),)


@dataclass(frozen=True, slots=True)
class Ema(TensorDefaults):
    """One step of an exponential moving average: `decay * averaged + (1 - decay) * new`, in the type of the first.

    Two inputs of one shape, in this order. Source: timm's `ModelEmaV2`.

    >>> op = Ema(decay=0.999)
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3), TensorSpec.of("float32", 64, 3))))
    f32[64, 3]
    """

    name: ClassVar[str] = "ema"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    decay: float

    def __post_init__(self) -> None:
        assign(self, decay=number(self.decay, "ema: decay"))
        if not 0 <= self.decay <= 1:
            raise RulesError(f"ema: decay is {self.decay}; it is from 0 to 1")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of the average; the new tensor must be of its shape."""
        if len(specs) != 2:
            raise RulesError(f"ema: {len(specs)} inputs; it takes the average, then the new tensor")
        return (weights_alike(specs, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The next average."""
        return (_sum(all_widened(tensors), (self.decay, 1.0 - self.decay), tensors[0].dtype, self.name),)


@dataclass(frozen=True, slots=True)
class TaskVector(TensorDefaults):
    """What training added to a base, added to it by shares: `base + scales_1 * (tuned_1 - base) + ...`, in the base's type.

    The inputs are the base, then the tuned tensors, all of one shape. scales: one for each tuned tensor (1 where there are none);
    a negative one takes away what was learned. Source: Ilharco et al., 2023, "Editing models with task arithmetic".

    >>> op = TaskVector(scales=(0.4,))
    >>> print(*op.infer((TensorSpec.of("float32", 64, 3), TensorSpec.of("float32", 64, 3))))
    f32[64, 3]
    """

    name: ClassVar[str] = "task_vector"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "approximate"
    is_elementwise: ClassVar[bool] = True

    scales: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scales is not None:
            assign(self, scales=numbers(self.scales, "task_vector: scales"))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of the base; the tuned tensors must be of its shape."""
        if len(specs) < 2:
            raise RulesError(f"task_vector: {len(specs)} inputs; it takes the base, then one tuned tensor or more")
        _factors(self.scales, len(specs) - 1, "task_vector: scales")
        return (weights_alike(specs, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The base with its shares of what was learned."""
        base, *tuned = all_widened(tensors)
        scales = _factors(self.scales, len(tuned), "task_vector: scales")
        return (_sum([base, *(each - base for each in tuned)], (1.0, *scales), tensors[0].dtype, self.name),)


def _factors(given: tuple[float, ...] | None, count: int, what: str) -> tuple[float, ...]:
    """One factor for each tensor: those given, whose number must fit, or 1 each."""
    if given is None:
        return (1.0,) * count
    if len(given) != count:
        raise RulesError(f"{what} are {len(given)} for {count} tensors: {list(given)}")
    return given


def _sum(wide: Sequence[torch.Tensor], factors: Sequence[float], dtype: torch.dtype, name: str, *, over: float = 1.0) -> torch.Tensor:
    """Each tensor times its factor, added up in order, divided by `over`.

    Products and sums are rounded one by one (no fused multiply-add), so that a piece comes out as it does in the whole.
    """
    total = wide[0] * factors[0]
    for tensor, factor in zip(wide[1:], factors[1:], strict=True):
        total += tensor * factor
    return narrowed(total if over == 1.0 else total / over, dtype, name)
