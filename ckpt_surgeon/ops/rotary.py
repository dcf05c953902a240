"""rope_permute: the rows of a query or key projection, from one layout of rotary embeddings to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer, one_of, positive
from ckpt_surgeon.ops.gathering import Gathered, Rows
from ckpt_surgeon.ops.protocol import Arity, Contract, TensorOp
from ckpt_surgeon.ops.shaping import one_input
from ckpt_surgeon.spec import TensorSpec

__all__ = ["RopePermute"]

_LAYOUTS = ("interleaved", "half")


@dataclass(frozen=True, slots=True)
class RopePermute(Gathered):
    """Bring the rows of each head from one layout of rotary embeddings to the other; `[heads * head_dim, in]`, or a bias.

    `interleaved`: the rows 2p and 2p + 1 of a head turn together (Meta's LLaMA, GPT-J). `half`: the rows p and p + r / 2 do,
    where r are the rows which turn at all (Hugging Face's LLaMA, GPT-NeoX). The one is not the other's opposite twice over:
    both are named, and doing it twice changes the model. Attention stays the same when both of its query and its key change
    together with the code which turns them.

    heads: of this tensor; for a key of grouped-query attention the number of its own heads.
    rotary_dim: how many rows of each head turn (its first ones); all of them where left out.
    Source: transformers, `convert_llama_weights_to_hf.py`, `permute` (interleaved to half).

    >>> op = RopePermute(heads=32, source_layout="interleaved", target_layout="half")
    >>> print(*op.infer((TensorSpec.of("bfloat16", 4096, 4096),)))
    bf16[4096, 4096]
    """

    name: ClassVar[str] = "rope_permute"
    arity: ClassVar[Arity] = "1->1"
    contract: ClassVar[Contract] = "exact"

    heads: int
    source_layout: Literal["interleaved", "half"]
    target_layout: Literal["interleaved", "half"]
    dim: int = 0
    rotary_dim: int | None = None

    def __post_init__(self) -> None:
        positive(self.heads, f"{self.name}: heads")
        one_of(self.source_layout, _LAYOUTS, f"{self.name}: source_layout")
        one_of(self.target_layout, _LAYOUTS, f"{self.name}: target_layout")
        integer(self.dim, f"{self.name}: dim")
        if self.source_layout == self.target_layout:
            hint = "Leave the rule out, or name the layout which the target wants."
            raise RulesError(f"{self.name}: both layouts are {self.source_layout}; nothing would change", hint=hint)
        if self.rotary_dim is not None and positive(self.rotary_dim, f"{self.name}: rotary_dim") % 2:
            raise RulesError(f"{self.name}: rotary_dim is {self.rotary_dim}; rows turn in pairs, so an even number is wanted")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The same spec."""
        one_input(specs, self.name)
        return Gathered.infer(self, specs)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The way back: the layouts exchanged."""
        return replace(self, source_layout=self.target_layout, target_layout=self.source_layout)

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        (size,) = sizes
        rows = f"{self.name}: dim {self.dim} of {of} has {size} rows"
        if size % self.heads:
            hint = "A key or value of grouped-query attention has fewer heads than the query."
            raise RulesError(f"{rows}, which do not divide by {self.heads} heads", hint=hint)
        head_dim = size // self.heads
        if self.rotary_dim is None and head_dim % 2:
            raise RulesError(f"{rows}, {head_dim} for each head; rows turn in pairs", hint="Check heads, or give rotary_dim.")
        if self.rotary_dim is not None and self.rotary_dim > head_dim:
            raise RulesError(f"{rows}, {head_dim} for each head; rotary_dim is {self.rotary_dim}", hint=f"At most {head_dim} fit.")
        return sizes

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        return (self._turned(sizes[0] // self.heads),)

    def _turned(self, head_dim: int) -> Iterator[Rows]:
        rotary = head_dim if self.rotary_dim is None else self.rotary_dim
        columns, count = (2, rotary // 2) if self.target_layout == "half" else (rotary // 2, 2)
        for head in range(self.heads if head_dim else 0):
            start = head * head_dim
            for column in range(columns):
                for k in range(count):
                    yield Rows(0, start + k * columns + column, 1)
            yield Rows(0, start + rotary, head_dim - rotary)
