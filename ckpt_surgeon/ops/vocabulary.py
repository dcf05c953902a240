"""resize_vocab: an embedding, or a language model's head, for another number of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer
from ckpt_surgeon.ops.defaults import TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Contract, Run, TensorOp
from ckpt_surgeon.ops.rows import check_new_rows, drawing, refuse_new_rows, row_runs, taken_rows
from ckpt_surgeon.ops.shaping import bounded, dim_within, one_input, target_size
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["ResizeVocab"]


@dataclass(frozen=True, slots=True)
class ResizeVocab(TensorDefaults):
    """Give an embedding `[tokens, features]` or a head's bias `[tokens]` rows for `size` tokens: the first ones stay bit for bit.

    size: the number of tokens, `target`, or, with pad_to_multiple_of, left out: the old one. pad_to_multiple_of: the size is
    rounded up to a multiple of it. dim: where the tokens stand.
    new: what new rows hold: `zero`; `mean`, the mean of all old rows; `normal`, drawn with `seed` around this mean, with 1e-9
    of the old rows' covariance, as transformers does (the mean itself where the covariance is not positive definite, as with
    fewer tokens than features).

    Source: transformers 5.24, `PreTrainedModel.resize_token_embeddings(mean_resizing=True)`.

    >>> op = ResizeVocab(size=50300, new="mean", pad_to_multiple_of=64)
    >>> print(*op.infer((TensorSpec.of("bfloat16", 50257, 768),)))
    bf16[50304, 768]
    """

    name: ClassVar[str] = "resize_vocab"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "approximate"

    size: int | Literal["target"] | None = None
    new: Literal["zero", "mean", "normal"] = "zero"
    pad_to_multiple_of: int | None = None
    seed: int = 0
    dim: int = 0

    def __post_init__(self) -> None:
        integer(self.dim, f"{self.name}: dim")
        check_new_rows(self.new, self.seed, self.name, "new")
        if isinstance(self.size, str) and self.size != "target":
            raise RulesError(f"{self.name}: size is {self.size!r}; a whole number is wanted, or target")
        if isinstance(self.size, int) and integer(self.size, f"{self.name}: size") < 1:
            raise RulesError(f"{self.name}: size is {self.size}; 1 or more is wanted")
        if self.pad_to_multiple_of is None:
            if self.size is None:
                raise RulesError(f"{self.name}: size is missing", hint="A number, `size: target`, or `pad_to_multiple_of` alone.")
            return
        if integer(self.pad_to_multiple_of, f"{self.name}: pad_to_multiple_of") < 1:
            raise RulesError(f"{self.name}: pad_to_multiple_of is {self.pad_to_multiple_of}; 1 or more is wanted")
        if self.size == "target":
            raise RulesError(f"{self.name}: the target's size is not to be rounded", hint="Leave pad_to_multiple_of out.")

    @property
    def needs_target(self) -> bool:
        """Whether the number of tokens is the target's."""
        return self.size == "target"

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> ResizeVocab:
        """With the target's number of tokens, if it is to be that."""
        if self.size != "target":
            return self
        if targets is None:
            raise RulesError(f"{self.name}: size is the target's, and there is none", hint="Give a target, or a number.")
        return replace(self, size=target_size(one_input(targets, self.name), self.dim, self.name))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The spec with another size of the dim."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        old, wanted = spec.shape[dim], self._size_of(spec.shape[dim])
        if wanted > old:
            refuse_new_rows(spec, self.new, old, self.name)
        return (bounded((*spec.shape[:dim], wanted, *spec.shape[dim + 1 :]), spec.dtype, self.name),)

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The old rows as far as there is place for them, and the new ones."""
        (tensor,) = tensors
        dim = dim_within(self.dim, tensor.dim(), self.name, list(tensor.shape))
        return (taken_rows(tensor, dim, self._rows(tensor.shape[dim]), self.new, drawing(self.seed), self.name),)

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """The first rows, when none is new and no dim larger than 1 stands before."""
        spec = one_input(specs, self.name)
        dim = dim_within(self.dim, len(spec.shape), self.name, spec)
        if self._size_of(spec.shape[dim]) > spec.shape[dim]:
            return None
        runs = row_runs(spec, dim, self._rows(spec.shape[dim]))
        return None if runs is None else (runs,)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The cut to the old number of tokens, when none was lost."""
        spec = one_input(specs, self.name)
        old = spec.shape[dim_within(self.dim, len(spec.shape), self.name, spec)]
        return ResizeVocab(old, dim=self.dim) if 0 < old <= self._size_of(old) else None

    def _size_of(self, old: int) -> int:
        """How many tokens there are to be."""
        if self.size == "target":
            raise RulesError(f"{self.name}: size is the target's, and there is none", hint="Give a target, or a number.")
        size = old if self.size is None else self.size
        return -(-size // self.pad_to_multiple_of) * self.pad_to_multiple_of if self.pad_to_multiple_of else size

    def _rows(self, old: int) -> list[int | None]:
        return [i if i < old else None for i in range(self._size_of(old))]
