"""Ops on tensors whose rows stand in turns: interleave, and deinterleave, which undoes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import ClassVar, Literal

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import integer, positive
from ckpt_surgeon.ops.gathering import Gathered, Rows
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, TensorOp
from ckpt_surgeon.ops.shaping import one_input, refuse_unlike, shared_out, shares, target_size
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Deinterleave", "Interleave"]

_GROUPED = "With grouped-query attention, groups are the heads of key and value."


@dataclass(frozen=True, slots=True)
class Interleave(Gathered):
    """Take the rows of several tensors in turns, group by group: query, key and value, packed head by head.

    With n inputs of `d_k` rows the result holds, for each of the groups, `d_1 / groups` rows of the first, `d_2 / groups` of the
    second, and so on: `[groups, sum(d_k) / groups, ...]`, its first two dims flattened.

    groups: the heads, where each has a query, a key and a value of its own (`[heads, 3, head_dim, hidden]`: Megatron-LM's
    checkpoint version 2, GPT-NeoX, BLOOM); the heads of key and value, where several queries share them
    (`[kv_heads, q_per_kv + 2, head_dim, hidden]`: InternLM2's wqkv, Falcon's new decoder); the rows of a part, where query, key
    and value change with each row (`[heads, head_dim, 3, hidden]`: Megatron-LM's version 1).

    >>> op = Interleave(groups=8)
    >>> print(*op.infer((TensorSpec.of("bfloat16", 4096, 64), TensorSpec.of("bfloat16", 1024, 64), TensorSpec.of("bfloat16", 1024, 64))))
    bf16[6144, 64]
    """

    name: ClassVar[str] = "interleave"
    arity: ClassVar[Arity] = "n->1"
    contract: ClassVar[Contract] = "exact"

    groups: int
    dim: int = 0

    def __post_init__(self) -> None:
        positive(self.groups, "interleave: groups")
        integer(self.dim, "interleave: dim")

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The rows added up; all other sizes must agree, and so must the types."""
        if not specs:
            raise RulesError("interleave: no inputs; it takes at least one tensor")
        refuse_unlike(specs, self._dim_of(specs[0].shape, specs[0]), self.name)
        return Gathered.infer(self, specs)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The parts taken out again, by the rows which each has in a group."""
        dim = self._dim_of(specs[0].shape, specs[0])
        return Deinterleave(self.groups, self.dim, tuple(spec.shape[dim] // self.groups for spec in specs))

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        for i, size in enumerate(sizes):
            if size % self.groups:
                what = f"interleave: dim {self.dim} of input {i} has {size} rows, not {self.groups} equal groups"
                raise RulesError(what, hint=_GROUPED)
        return (sum(sizes),)

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        return (self._in_turns([size // self.groups for size in sizes]),)

    def _in_turns(self, parts: Sequence[int]) -> Iterator[Rows]:
        for group in range(self.groups if any(parts) else 0):
            for i, part in enumerate(parts):
                yield Rows(i, group * part, part)


@dataclass(frozen=True, slots=True)
class Deinterleave(Gathered):
    """Take tensors apart whose rows stand in turns, group by group: `[groups, n parts, ...]` becomes n tensors.

    groups: the heads, or those of key and value, or the rows of a part: as of `interleave`, which undoes it.
    sizes: the shares of the parts of a group, in heads or in rows (`[4, 1, 1]`: four queries to a key and a value), or `target`.
    Left out, the target's sizes where there is a target, else the parts are equal. parts: filled in then.

    >>> op = Deinterleave(groups=8, sizes=(4, 1, 1))
    >>> print(*op.infer((TensorSpec.of("bfloat16", 6144, 4096),)))
    bf16[4096, 4096] bf16[1024, 4096] bf16[1024, 4096]
    """

    name: ClassVar[str] = "deinterleave"
    body: ClassVar[Body] = Body(filled=("parts",))
    arity: ClassVar[Arity] = "1->n"
    contract: ClassVar[Contract] = "exact"

    groups: int
    dim: int = 0
    sizes: tuple[int, ...] | Literal["target"] | None = None
    parts: int | None = None

    def __post_init__(self) -> None:
        positive(self.groups, "deinterleave: groups")
        integer(self.dim, "deinterleave: dim")
        if self.sizes not in (None, "target"):
            object.__setattr__(self, "sizes", shares(self.sizes, "deinterleave: sizes"))
        if self.parts is not None:
            positive(self.parts, "deinterleave: parts")

    @property
    def needs_target(self) -> bool:
        """Whether the sizes are the target's."""
        return self.sizes == "target"

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """As many as there are sizes, or parts."""
        return len(self.sizes) if isinstance(self.sizes, tuple) else self.parts

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> Deinterleave:
        """With the shares which the targets have, or the number of equal parts."""
        known = self.count(())
        if known is not None and known != outputs:
            raise RulesError(f"deinterleave: {known} parts for {outputs} outputs")
        if known is not None:
            return self
        if targets is None:
            self._refuse_unknown_target()
            return replace(self, parts=outputs)
        sizes = [target_size(target, self.dim, self.name) for target in targets]
        return replace(self, sizes=tuple(self._in_groups(size, f"the target's {spec}") for size, spec in zip(sizes, targets, strict=True)))

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """A spec for each part."""
        one_input(specs, self.name)
        return Gathered.infer(self, specs)

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The parts in turns again."""
        return Interleave(self.groups, self.dim)

    def _refuse_unknown_target(self) -> None:
        if self.sizes == "target":
            raise RulesError("deinterleave: its sizes are the target's, and there is none", hint="Give a target, or sizes.")

    def _counts(self, sizes: tuple[int, ...], of: object) -> tuple[int, ...]:
        (size,) = sizes
        self._refuse_unknown_target()
        whole = self._in_groups(size, of)
        what = f"deinterleave: {whole} rows in each of {self.groups} groups along dim {self.dim} of {of}"
        return tuple(part * self.groups for part in shared_out(whole, self._shares(), what))

    def _in_groups(self, size: int, of: object) -> int:
        if size % self.groups:
            what = f"deinterleave: dim {self.dim} of {of} has {size} rows, not {self.groups} equal groups"
            raise RulesError(what, hint=_GROUPED)
        return size // self.groups

    def _shares(self) -> tuple[int, ...]:
        if isinstance(self.sizes, tuple):
            return self.sizes
        if self.parts is None:
            raise RulesError("deinterleave: neither sizes nor a number of outputs is known")
        return (1,) * self.parts

    def _rows(self, sizes: tuple[int, ...]) -> Sequence[Iterable[Rows]]:
        whole = sizes[0] // self.groups
        parts = shared_out(whole, self._shares(), self.name)
        return [self._every(whole, start, part) for start, part in zip(accumulate(parts, initial=0), parts, strict=False)]

    def _every(self, whole: int, start: int, part: int) -> Iterator[Rows]:
        for group in range(self.groups if part else 0):
            yield Rows(0, group * whole + start, part)
