"""Key and value heads of grouped-query attention: mha_to_gqa makes them fewer, gqa_to_mha repeats them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer, positive
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.gathering import Gathered, Rows
from ckpt_surgeon.ops.precision import widened
from ckpt_surgeon.ops.protocol import Arity, Contract, TensorOp
from ckpt_surgeon.ops.shaping import dim_within, one_input
from ckpt_surgeon.ops.taking import Take
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["GqaToMha", "MhaToGqa"]


@dataclass(frozen=True, slots=True)
class MhaToGqa(TensorDefaults):
    """Make groups of a key's or value's heads into one head each, their mean; `[heads * head_dim, in]`, or a bias.

    heads: those which the tensor has. kv_heads: those which are left; each is the mean of `heads / kv_heads` neighbors. The
    model has to be trained on: only if the heads of a group are alike does its function stay.
    Source: Ainslie et al., GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints, 2023.

    >>> op = MhaToGqa(heads=32, kv_heads=8)
    >>> print(*op.infer((TensorSpec.of("float32", 4096, 4096),)))
    f32[1024, 4096]
    """

    name: ClassVar[str] = "mha_to_gqa"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    heads: int
    kv_heads: int
    dim: int = 0

    def __post_init__(self) -> None:
        _check_heads(self)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the rows of `kv_heads` heads."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        if not spec.dtype.is_float or not spec.dtype.has_zero:
            hint = "A quantized weight is to be dequantized first."
            raise RulesError(f"{self.name}: {spec} holds no weights which could be averaged", hint=hint)
        head_dim = _head_dim(self, spec.shape[dim], self.heads, spec)
        return (TensorSpec((*spec.shape[:dim], self.kv_heads * head_dim, *spec.shape[dim + 1 :]), spec.dtype),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The means; computed in float32, or float64 where it is that, and cast back."""
        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        head_dim = _head_dim(self, tensor.shape[dim], self.heads, list(tensor.shape))
        whole = widened(tensor).contiguous()
        before, after = whole.shape[:dim], whole.shape[dim + 1 :]
        grouped = whole.reshape(*before, self.kv_heads, self.heads // self.kv_heads, head_dim, *after)
        means = grouped.mean(dim + 1).reshape(*before, self.kv_heads * head_dim, *after)
        return (means.to(tensor.dtype),)


@dataclass(frozen=True, slots=True)
class GqaToMha(Gathered):
    """Give every query head a key's or value's head of its own, by repeating those which are there; `[kv_heads * head_dim, in]`.

    heads: those of the query. kv_heads: those which the tensor has; each then stands `heads / kv_heads` times, side by side. The
    function of the attention stays.
    Source: transformers, `repeat_kv` (`torch.repeat_interleave` along the heads), on the weight in place of what it gives.

    >>> op = GqaToMha(heads=32, kv_heads=8)
    >>> print(*op.infer((TensorSpec.of("float32", 1024, 4096),)))
    f32[4096, 4096]
    """

    name: ClassVar[str] = "gqa_to_mha"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "preserving"

    heads: int
    kv_heads: int
    dim: int = 0

    def __post_init__(self) -> None:
        _check_heads(self)

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with the rows of `heads` heads."""
        one_input(specs, self.name)
        return Gathered.infer(self, specs)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The first head of each group taken; None for a tensor without rows."""
        spec = one_input(specs, self.name)
        head_dim = spec.shape[self._dim_of(spec.shape, spec)] // self.kv_heads
        starts = range(0, self.heads * head_dim, self.heads // self.kv_heads * head_dim) if head_dim else ()
        return Take(tuple(f"{start}-{start + head_dim - 1}" for start in starts), self.dim) if starts else None

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        return (_head_dim(self, sizes[0], self.kv_heads, of) * self.heads,)

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        head_dim, copies = sizes[0] // self.kv_heads, self.heads // self.kv_heads
        heads = range(self.kv_heads if head_dim else 0)
        return ((Rows(0, head * head_dim, head_dim) for head in heads for _ in range(copies)),)


def _check_heads(op: MhaToGqa | GqaToMha) -> None:
    heads, kv_heads = positive(op.heads, f"{op.name}: heads"), positive(op.kv_heads, f"{op.name}: kv_heads")
    integer(op.dim, f"{op.name}: dim")
    if heads % kv_heads:
        raise RulesError(f"{op.name}: {heads} heads do not divide into {kv_heads} groups", hint="heads is a multiple of kv_heads.")


def _head_dim(op: MhaToGqa | GqaToMha, size: int, heads: int, of: object) -> int:
    """The rows of a head."""
    if size % heads:
        hint = "heads and kv_heads are those of the model's configuration."
        raise RulesError(f"{op.name}: dim {op.dim} of {of} has {size} rows, which do not divide by {heads} heads", hint=hint)
    return size // heads
