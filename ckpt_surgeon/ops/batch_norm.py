"""fold_bn: a batch norm taken into the layer before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer, number
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import all_widened, narrowed, refuse_no_weights, refuse_nothing_left
from ckpt_surgeon.ops.protocol import Arity, Body, Contract
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["FoldBatchNorm"]

_NORM = ("bn_weight", "bn_bias", "bn_running_mean", "bn_running_var")
_ROLES = Roles(sources=("weight", "bias", *_NORM), targets=("weight", "bias"), optional=("bias",))


@dataclass(frozen=True, slots=True)
class FoldBatchNorm(TensorDefaults):
    """Take a batch norm into the convolution or linear layer before it: one weight and one bias, and the same function in eval mode.

    With `scale = bn_weight / sqrt(bn_running_var + eps)`: `weight * scale`, each output channel with its own, and
    `(bias - bn_running_mean) * scale + bn_bias`; a layer without a bias has one of 0. Computed in at least float32; the
    outputs have the types of weight and bias (of the weight, where there is no bias).

    eps: the norm's, which no file holds, so it has to be stated (torch's BatchNorm2d: 1e-5). transposed: the weight is a
    transposed convolution's, `[in, out / groups, *kernel]`, with its `groups`; else it is `[out, in / groups, *kernel]`, whose
    groups do not matter. `num_batches_tracked` is no input: another rule drops it. inputs: filled in by the reader of rules.

    Source: torch.nn.utils.fusion.fuse_conv_bn_weights (with groups also for transposed ones) and fuse_linear_bn_weights.

    >>> op = FoldBatchNorm(eps=1e-5)
    >>> shapes = (64, 3, 7, 7), (64,), (64,), (64,), (64,)
    >>> print(*op.infer(tuple(TensorSpec.of("float32", *shape) for shape in shapes)))
    f32[64, 3, 7, 7] f32[64]
    """

    name: ClassVar[str] = "fold_bn"
    body: ClassVar[Body] = Body(filled=("inputs",), roles=_ROLES)
    arity: ClassVar[Arity] = "n->m"
    contract: ClassVar[Contract] = "preserving"

    eps: float
    transposed: bool = False
    groups: int = 1
    inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assign(self, eps=number(self.eps, "fold_bn: eps"), inputs=_ROLES.checked(self.inputs, self.name))
        if self.eps < 0:
            raise RulesError(f"fold_bn: eps is {self.eps}; it is not negative")
        if integer(self.groups, "fold_bn: groups") < 1:
            raise RulesError(f"fold_bn: groups is {self.groups}; 1 or more is wanted")
        if self.groups > 1 and not self.transposed:
            hint = "The output channels are dim 0, however many groups there are."
            raise RulesError("fold_bn: groups matter to transposed convolutions alone: leave them out", hint=hint)

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """Weight and bias."""
        return len(_ROLES.targets)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The weight's spec and the bias's; all of the norm must have an element for each output channel."""
        given = _ROLES.named(self.inputs, specs, self.name)
        refuse_no_weights(specs, self.name)
        weight = given["weight"]
        if len(weight.shape) < 2:
            raise RulesError(f"fold_bn: weight {weight} has no output and input channels: at least 2 dims are wanted")
        if self.transposed and weight.shape[0] % self.groups:
            raise RulesError(f"fold_bn: dim 0 of weight {weight} does not divide by {self.groups} groups")
        channels = weight.shape[1] * self.groups if self.transposed else weight.shape[0]
        for role, spec in given.items():
            if role != "weight" and spec.shape != (channels,):
                raise RulesError(f"fold_bn: {role} {spec} for {channels} output channels of weight {weight}", hint=self._hint(weight, spec))
        return weight, replace(given.get("bias", weight), shape=(channels,))

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Weight and bias with the norm in them."""
        import torch

        given = _ROLES.named(self.inputs, all_widened(tensors), self.name)
        variance = given["bn_running_var"] + self.eps
        refuse_nothing_left(variance, "bn_running_var + eps", self.name)
        steepness = torch.rsqrt(variance)
        bias = given.get("bias", torch.zeros_like(steepness))
        folded = (bias - given["bn_running_mean"]) * steepness * given["bn_weight"] + given["bn_bias"]
        types = _ROLES.named(self.inputs, [tensor.dtype for tensor in tensors], self.name)
        weight = narrowed(self._scaled(given["weight"], given["bn_weight"] * steepness), types["weight"], self.name)
        return weight, narrowed(folded, types.get("bias", types["weight"]), self.name)

    def _scaled(self, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Each output channel times its own factor. A transposed weight is `[groups, in / groups, out / groups, *kernel]`, unfolded."""
        if not self.transposed:
            return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
        ins, outs, *kernel = weight.shape
        by_group = weight.reshape(self.groups, ins // self.groups, outs, *kernel)
        return (by_group * scale.reshape(self.groups, 1, outs, *[1] * len(kernel))).reshape(weight.shape)

    def _hint(self, weight: TensorSpec, spec: TensorSpec) -> str:
        if not self.transposed and spec.shape == (weight.shape[1],):
            return "Is it a transposed convolution? Say `transposed: true`."
        return "Transposed convolutions have out / groups in dim 1: say their `groups`." if self.transposed else ""
