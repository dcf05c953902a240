"""merge_lora: a weight with its low-rank adapter added to it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, number
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import all_widened, narrowed, refuse_no_weights
from ckpt_surgeon.ops.protocol import Arity, Body, Contract
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["MergeLora"]

_ROLES = Roles(sources=("weight", "lora_a", "lora_b", "alpha"), optional=("alpha",))


@dataclass(frozen=True, slots=True)
class MergeLora(TensorDefaults):
    """Add an adapter to its weight: `weight + lora_b @ lora_a * alpha / r`, so that the model needs no adapter any more.

    weight `[out, in, *kernel]`, lora_a `[r, in, *kernel]`, lora_b `[out, r, 1, ...]`: linear layers (no kernel) and
    convolutions, those of several groups excepted, which peft does not merge either. Computed in at least float32, in the
    weight's type at the end.

    alpha: `lora_alpha` of the adapter's configuration; kohya's files hold it as a tensor `[]` beside each adapter, which then is an
    input. r: its rank, checked against the shapes where it is given.
    rslora: the factor is alpha / sqrt(r). fan_in_fan_out: the weight is `[in, out]` (GPT-2's Conv1D; an embedding, whose
    lora_embedding_A `[r, tokens]` is lora_a): a square weight does not tell, so this has to be said.
    inputs: filled in by the reader of rules.

    Source: peft 0.21, `lora.layer`: `Linear`, `Embedding` and `_ConvNd.get_delta_weight`.

    >>> op = MergeLora(alpha=16)
    >>> shapes = (768, 512), (8, 512), (768, 8)
    >>> print(*op.infer(tuple(TensorSpec.of("float32", *shape) for shape in shapes)))
    f32[768, 512]
    """

    name: ClassVar[str] = "merge_lora"
    body: ClassVar[Body] = Body(filled=("inputs",), roles=_ROLES)
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "preserving"

    alpha: float | None = None
    r: int | None = None
    rslora: bool = False
    fan_in_fan_out: bool = False
    inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        alpha = None if self.alpha is None else number(self.alpha, "merge_lora: alpha")
        assign(self, alpha=alpha, inputs=_ROLES.checked(self.inputs, self.name))
        if self.inputs is not None:
            self._check_alpha_once("alpha" in self.inputs)
        if self.r is not None and integer(self.r, "merge_lora: r") < 1:
            raise RulesError(f"merge_lora: r is {self.r}; 1 or more is wanted")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The weight's spec; the adapter's shapes have to fit it."""
        given = _ROLES.named(self.inputs, specs, self.name)
        weight, lora_a, lora_b = given["weight"], given["lora_a"], given["lora_b"]
        refuse_no_weights((weight, lora_a, lora_b), self.name)
        self._check_alpha(given.get("alpha"))
        if len(weight.shape) < 2 or (self.fan_in_fan_out and len(weight.shape) != 2):
            wanted = "fan_in_fan_out is for a weight [in, out]" if self.fan_in_fan_out else "a weight has at least 2 dims"
            raise RulesError(f"merge_lora: weight {weight}; {wanted}")
        self._check_rank(lora_a, lora_b)
        outs, ins, *kernel = self._plain(weight.shape)
        rank = lora_a.shape[0]
        wanted_a, wanted_b = (rank, ins, *kernel), (outs, rank, *(1 for _ in kernel))
        for role, spec, shape in (("lora_a", lora_a, wanted_a), ("lora_b", lora_b, wanted_b)):
            if spec.shape != shape:
                raise RulesError(f"merge_lora: {role} {spec} does not fit weight {weight}; {list(shape)} would", hint=self._hint(given))
        return (weight,)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The merged weight."""
        given = _ROLES.named(self.inputs, all_widened(tensors), self.name)
        weight, lora_a, lora_b = given["weight"], given["lora_a"], given["lora_b"]
        rank = len(lora_a)
        alpha = given["alpha"].item() if self.alpha is None else self.alpha
        factor = alpha / (sqrt(rank) if self.rslora else rank)
        delta = lora_b.reshape(len(lora_b), rank) @ lora_a.reshape(rank, lora_a[0].numel()) * factor
        merged = weight + (delta.T if self.fan_in_fan_out else delta).reshape(weight.shape)
        return (narrowed(merged, tensors[0].dtype, self.name),)

    def _plain(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`[out, in, *kernel]`."""
        return shape[::-1] if self.fan_in_fan_out else shape

    def _check_alpha(self, alpha: TensorSpec | None) -> None:
        """It has to be said once, and as a tensor to be one real number."""
        self._check_alpha_once(alpha is not None)
        if alpha is not None and (alpha.numel != 1 or alpha.dtype.is_complex or alpha.dtype.is_packed):
            raise RulesError(f"merge_lora: alpha {alpha} is not one number")

    def _check_alpha_once(self, as_tensor: bool) -> None:
        if as_tensor == (self.alpha is not None):
            what = "alpha is given twice, as a number and as a tensor" if as_tensor else "no alpha"
            raise RulesError(f"merge_lora: {what}", hint="`alpha: 16`, or in `source`, where files hold it: `alpha: PATTERN`.")

    def _check_rank(self, lora_a: TensorSpec, lora_b: TensorSpec) -> None:
        """Both have to be of one rank, which is not 0, and is the one which the rule says."""
        if len(lora_a.shape) < 2 or len(lora_b.shape) < 2 or lora_a.shape[0] != lora_b.shape[1] or not lora_a.shape[0]:
            hint = "lora_a is [r, in, ...], lora_b [out, r, ...]: are they exchanged?"
            raise RulesError(f"merge_lora: lora_a {lora_a} and lora_b {lora_b} are not of one rank", hint=hint)
        if self.r not in (None, lora_a.shape[0]):
            raise RulesError(f"merge_lora: r is {self.r}, and the rank of lora_a {lora_a} is {lora_a.shape[0]}")

    def _hint(self, given: Mapping[str, TensorSpec]) -> str:
        turned = given["weight"].shape[::-1] == (given["lora_b"].shape[0], given["lora_a"].shape[1])
        if turned:
            return (
                "The weight is stored as [in, out]: say `fan_in_fan_out: true`." if not self.fan_in_fan_out else "Leave fan_in_fan_out out."
            )
        return "Adapters of convolutions with several groups cannot be merged." if len(given["weight"].shape) > 2 else ""
