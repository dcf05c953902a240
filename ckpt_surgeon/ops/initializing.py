"""init: a tensor which takes nothing from the source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, dtype_name, integer, integers, number, one_of
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import check_weights, narrowed
from ckpt_surgeon.ops.protocol import Arity, Body, Contract
from ckpt_surgeon.ops.rows import derived_seed, drawing
from ckpt_surgeon.ops.shaping import bounded, one_input, plain_shape
from ckpt_surgeon.spec import DTYPES, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Init"]

_VALUES = ("zeros", "ones", "normal", "model")
_STD = 0.02  # transformers' `initializer_range`
_MAX_SEED = 2**63 - 1  # what torch.manual_seed takes


@dataclass(frozen=True, slots=True)
class Init(TensorDefaults):
    """Make a new tensor: the head for new classes.

    value: `zeros`, `ones`; `normal`: drawn with `seed` around 0 with the deviation `std` (0.02), other numbers for each key; or
    `model`: the model's own initialization, drawn with `seed`; it then is the only input.
    shape, dtype: the target's where left out; without a target the shape is wanted, and the type is float32.
    key: whose numbers are drawn; filled in by the plan.

    >>> op = Init("zeros", shape=(101, 2048))
    >>> print(*op.infer(()))
    f32[101, 2048]
    """

    name: ClassVar[str] = "init"
    arity: ClassVar[Arity] = "0->1"
    contract: ClassVar[Contract] = "approximate"
    body: ClassVar[Body] = Body(filled=("key",))

    value: Literal["zeros", "ones", "normal", "model"]
    seed: int = 0
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    std: float | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        one_of(self.value, _VALUES, "init: value")
        if not 0 <= integer(self.seed, "init: seed") <= _MAX_SEED:
            raise RulesError(f"init: seed is {self.seed}; 0 or more is wanted")
        if self.shape is not None:
            assign(self, shape=plain_shape(integers(self.shape, "init: shape"), self.name))
        if self.dtype is not None:
            assign(self, dtype=dtype_name(self.dtype, "init: dtype"))
        if self.std is not None:
            if self.value != "normal" or number(self.std, "init: std") < 0:
                raise RulesError(f"init: std is {self.std}; it is for `normal`, and not negative")
            assign(self, std=number(self.std, "init: std"))

    @property
    def needs_target(self) -> bool:
        """Whether the model's values are wanted, or its shape."""
        return self.value == "model" or self.shape is None

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Init:
        """With shape and type from the target, where the rule gives none."""
        if targets is None:
            if self.needs_target:
                raise RulesError("init: its shape is the target's, and there is none", hint="Give a target, or `shape: [...]`.")
            return self
        target = one_input(targets, self.name)
        return replace(self, shape=target.shape if self.shape is None else self.shape, dtype=self.dtype or target.dtype.name)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The new tensor's spec. An input, which only `model` has, must be like it."""
        if self.shape is None:
            raise RulesError("init: its shape is the target's, and there is none", hint="Give a target, or `shape: [...]`.")
        spec = bounded(self.shape, DTYPES[self.dtype or "float32"], self.name)
        if self.value == "model":
            if specs not in ((), (spec,)):
                raise RulesError(f"init: the model's own tensor is {one_input(specs, self.name)}, not {spec}")
            return (spec,)
        if specs:
            raise RulesError(f"init: {len(specs)} inputs; `{self.value}` takes none")
        if self.value == "normal":
            check_weights(spec, self.name, is_real=True)
        if spec.dtype.is_packed or not spec.dtype.holds(DTYPES["bool"]):
            raise RulesError(f"init: a tensor of {spec.dtype} has no {self.value}", hint="Give another dtype.")
        return (spec,)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The new tensor; for `model`, a copy of the input."""
        import torch

        if self.value == "model":
            (tensor,) = tensors
            return (tensor.detach().clone(memory_format=torch.contiguous_format),)
        (spec,) = self.infer(())
        if self.value == "normal":
            drawn = torch.randn(spec.shape, generator=drawing(derived_seed(self.seed, self.key or "")), dtype=torch.float32)
            return (narrowed(drawn * (_STD if self.std is None else self.std), getattr(torch, spec.dtype.name), self.name),)
        values = torch.zeros if self.value == "zeros" else torch.ones
        return (values(spec.shape, dtype=torch.float32).to(getattr(torch, spec.dtype.name)),)
