"""What an op is: the two roles (NameOp, TensorOp) and the small values which they return. Knows no op by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.spec import TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Arity", "Body", "Contract", "Copy", "Drop", "Edit", "Move", "NameOp", "Run", "SourcedOp", "TensorOp", "Tie"]

Arity = Literal["1->1", "1->n", "n->1", "n->m", "0->1"]
Contract = Literal["exact", "preserving", "approximate"]


@dataclass(frozen=True, slots=True)
class Body:
    """How an op's YAML body becomes its fields.

    `whole`: the field which takes the body as it is, always (`rename`, `drop`) when `only`, else when the body is no
    mapping (`add_prefix: model.` or `add_prefix: {prefix: model., match: ...}`).
    `filled`: the fields which `bind` or the reader of rules fills; they are no parameters of a rule.
    `files`: the fields whose text, in a rules file, names a file; its lines are read instead.
    `roles`: what a rule may call the op's unlike inputs and outputs (`source: {weight: ..., bias: ...}`).
    """

    whole: str = ""
    only: bool = False
    filled: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    roles: Roles = field(default_factory=Roles)


@dataclass(frozen=True, slots=True)
class Move:
    """A key takes another name, or keeps its own (`source == target`): either counts as a match."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Drop:
    """A key leaves the table. `is_rest`: it was not matched; `keep` matched others and leaves no place for it."""

    source: str
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """An independent tensor with the values of `source`, which stays."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Tie:
    """A second name of `source`, which stays."""

    source: str
    target: str


Edit = Move | Drop | Copy | Tie


class NameOp(Protocol):
    """An op on names alone; a frozen dataclass whose fields are the rule's parameters."""

    name: ClassVar[str]
    body: ClassVar[Body]
    needs_target: ClassVar[bool]

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """What happens to `keys` (in table order), one edit for each match; keys not mentioned stay.

        Raises RulesError (without a `where`) when a pair matches nothing while others do, two pairs match one key, and the like.
        """
        ...

    def parameters(self) -> dict[str, Any]:
        """The parameters as plain JSON values, for digests."""
        ...


@runtime_checkable
class SourcedOp(Protocol):
    """An op on names which takes keys of other sources, too, where its patterns name them (`alias::pattern`)."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases at the start of its patterns, whether or not a source is called so."""
        ...

    def by_source(self, aliases: Collection[str]) -> Mapping[str, NameOp]:
        """The op for each of the sources which it names: alias (empty: the main source) -> the op on the keys of that one."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """`nbytes` bytes at `offset` of input number `input`: a part of an output which is moved, not computed."""

    input: int
    offset: int
    nbytes: int


@runtime_checkable
class TensorOp(Protocol):
    """An op on tensors; a frozen, hashable dataclass. Says what it does twice, to specs and to tensors."""

    name: ClassVar[str]
    body: ClassVar[Body]
    arity: ClassVar[Arity]
    contract: ClassVar[Contract]
    is_elementwise: ClassVar[
        bool
    ]  # one output, each element from those at the same place of inputs of its shape: any piece can be taken alone

    @property
    def needs_target(self) -> bool:
        """Whether a parameter is to be taken from the target (`in_channels: target`)."""
        ...

    def count(self, specs: tuple[TensorSpec, ...]) -> int | None:
        """How many outputs there are, where the op itself knows; None where the keys must tell."""
        ...

    def bind(self, outputs: int, targets: tuple[TensorSpec, ...] | None) -> TensorOp:
        """The op with the sizes filled in which it takes from its outputs' number and, where known, their target specs."""
        ...

    def infer(self, specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """The output specs; RulesError naming dim, size and what would fit. The op is bound."""
        ...

    def apply(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The outputs. Inputs are never changed; arithmetic is done in at least float32 and cast back."""
        ...

    def spans(self, specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...] | None:
        """Each output as runs of input bytes, in order; None for an op (or a case of it) which computes or permutes."""
        ...

    def inverse(self, specs: tuple[TensorSpec, ...]) -> TensorOp | None:
        """The op which undoes this one, on inputs of these specs, bit for bit; or None."""
        ...

    def parameters(self) -> dict[str, Any]:
        """The parameters as plain JSON values, for plans and digests."""
        ...
