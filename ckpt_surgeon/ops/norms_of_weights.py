"""bake_weight_norm, bake_spectral_norm: the weight which a reparametrized layer computes with, in place of the parts it is made of."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, integer
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.precision import all_widened, narrowed, refuse_no_weights, refuse_nothing_left
from ckpt_surgeon.ops.protocol import Arity, Body, Contract
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.ops.shaping import dim_within
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["BakeSpectralNorm", "BakeWeightNorm"]

_MAGNITUDE = Roles(sources=("g", "v"))
_SPECTRAL = Roles(sources=("weight_orig", "weight_u", "weight_v"))


@dataclass(frozen=True, slots=True)
class BakeWeightNorm(TensorDefaults):
    """Make the plain weight of a layer under weight norm: `v * g / |v|`, where |v| is taken over all dims but `dim`.

    g: the magnitude (`weight_g`, `parametrizations.weight.original0`). v: the direction (`weight_v`,
    `parametrizations.weight.original1`), with the shape of the weight. dim: the layer's own, counted from the end where it is
    negative; `all` where torch has None (or -1): one norm of all of it. Computed in at least float32. inputs: filled in by the
    reader of rules.

    Source: torch.nn.utils.weight_norm and torch.nn.utils.parametrizations.weight_norm (`torch._weight_norm`).

    >>> op = BakeWeightNorm()
    >>> print(*op.infer((TensorSpec.of("float32", 512, 1, 1), TensorSpec.of("float32", 512, 80, 7))))
    f32[512, 80, 7]
    """

    name: ClassVar[str] = "bake_weight_norm"
    body: ClassVar[Body] = Body(filled=("inputs",), roles=_MAGNITUDE)
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "preserving"

    dim: int | Literal["all"] = 0
    inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assign(self, inputs=_MAGNITUDE.checked(self.inputs, self.name))
        if self.dim != "all":
            integer(self.dim, f"{self.name}: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of v; g has to have its size along the dim, and 1s."""
        given = _MAGNITUDE.named(self.inputs, specs, self.name)
        refuse_no_weights(specs, self.name)
        magnitude, direction = given["g"], given["v"]
        if self.dim == "all":
            if prod(magnitude.shape) != 1:
                raise RulesError(f"{self.name}: g {magnitude} is not one number", hint="dim is the one along which g has its size.")
            return (direction,)
        dim = dim_within(self.dim, len(direction.shape), self.name, f"v {direction}")
        wanted = tuple(size if i == dim else 1 for i, size in enumerate(direction.shape))
        if magnitude.shape != wanted:
            fits = [i for i, size in enumerate(magnitude.shape) if size != 1]
            hint = f"g has its size in dim {fits[0]}: is it `dim: {fits[0]}`?" if len(fits) == 1 and fits[0] != dim else ""
            raise RulesError(f"{self.name}: g {magnitude} does not fit v {direction}; {list(wanted)} would", hint=hint)
        return (direction,)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The weight, in the type of v."""
        import torch

        magnitude, direction = all_widened(tensors)
        if self.dim == "all":
            magnitude, length = magnitude.reshape(()), torch.linalg.vector_norm(direction)
        else:
            others = [i for i in range(direction.dim()) if i != self.dim % direction.dim()]
            length = torch.linalg.vector_norm(direction, dim=others, keepdim=True) if others else direction.abs()
        if direction.numel():
            refuse_nothing_left(length, "the length of v", self.name)
        return (narrowed(direction * (magnitude / length), tensors[1].dtype, self.name),)


@dataclass(frozen=True, slots=True)
class BakeSpectralNorm(TensorDefaults):
    """Make the plain weight of a layer under spectral norm, as it is in eval mode: `weight_orig / sigma`, `sigma = u . W v`.

    W is weight_orig as a matrix `[size of dim, all others]`; weight_u and weight_v are the vectors as they were left by
    training: eval mode takes no step with them. In torch's parametrizations these are `parametrizations.weight.original`,
    `parametrizations.weight.0._u` and `parametrizations.weight.0._v`. dim: the layer's own, 0, or 1 for linear and convolution
    weights which are stored transposed (torch takes 1 for ConvTranspose). Computed in at least float32. inputs: filled in by
    the reader of rules.

    Source: torch.nn.utils.spectral_norm (`SpectralNorm.compute_weight`).

    >>> op = BakeSpectralNorm()
    >>> shapes = (64, 32, 3, 3), (64,), (288,)
    >>> print(*op.infer(tuple(TensorSpec.of("float32", *shape) for shape in shapes)))
    f32[64, 32, 3, 3]
    """

    name: ClassVar[str] = "bake_spectral_norm"
    body: ClassVar[Body] = Body(filled=("inputs",), roles=_SPECTRAL)
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "preserving"

    dim: int = 0
    inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assign(self, inputs=_SPECTRAL.checked(self.inputs, self.name))
        integer(self.dim, f"{self.name}: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec of weight_orig; the vectors have to fit its matrix."""
        given = _SPECTRAL.named(self.inputs, specs, self.name)
        refuse_no_weights(specs, self.name)
        weight = given["weight_orig"]
        dim = dim_within(self.dim, len(weight.shape), self.name, f"weight_orig {weight}")
        height, width = weight.shape[dim], prod(size for i, size in enumerate(weight.shape) if i != dim)
        for role, size in (("weight_u", height), ("weight_v", width)):
            if given[role].shape != (size,):
                hint = "dim is 1 for transposed convolutions, 0 for others; or are weight_u and weight_v exchanged?"
                raise RulesError(f"{self.name}: {role} {given[role]} does not fit weight_orig {weight}; [{size}] would", hint=hint)
        return (weight,)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The weight over its largest singular value, as the vectors have it."""
        weight, left, right = all_widened(tensors)
        sigma = left @ (weight.movedim(self.dim, 0).reshape(len(left), len(right)) @ right)
        if weight.numel():
            refuse_nothing_left(sigma.abs(), "sigma", self.name)
        return (narrowed(weight / sigma, tensors[0].dtype, self.name),)
