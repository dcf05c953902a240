"""Source | Derived = Recipe, and Plan: the whole surgery as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.keys.aliases import of_source
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning.optimizer_plan import OptimizerPlan
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.spec import Entry, Header, TensorSpec

if TYPE_CHECKING:
    from ckpt_surgeon.rules.guards import Guard

__all__ = ["Change", "Derived", "Plan", "Recipe", "Source", "Step", "sources_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """An entry as it stands in a source. `key` is the first of its tied names, `file` the source's alias (empty: the one source)."""

    key: str
    spec: Entry
    file: str = ""

    @property
    def is_initial(self) -> bool:
        """Whether it is of the model's own initialization (`model:SEED`): no weight of any checkpoint."""
        return ":" in self.file

    @property
    def name(self) -> str:
        """The key as rules and reports name it: `alias::key` where another source holds it."""
        return of_source(self.file, self.key)


@dataclass(frozen=True, slots=True)
class Derived:
    """Output number `output` of `op` on `inputs`."""

    op: TensorOp
    inputs: tuple[Recipe, ...]
    output: int
    spec: TensorSpec


Recipe = Source | Derived


def sources_of(recipe: Recipe) -> list[Source]:
    """The sources which a recipe reads, in order, each once."""
    if isinstance(recipe, Source):
        return [recipe]
    return list(dict.fromkeys(source for part in recipe.inputs for source in sources_of(part)))


Change = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule did: in each of `changes`, the first keys became the second.

    where: the rule's `rules.yaml:12:5`. number: its place among the rules, counted from 1.
    """

    where: str
    op: str
    changes: tuple[Change, ...]
    why: str = ""
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """Target key -> Recipe, and all that is to be said about it. Made from headers alone.

    given_source, given_target, given_others, arguments: what the caller gave (a path, a module, other sources by their aliases, a
    factory's arguments), to open it again when bytes are moved.

    recipes: every key of the output but its ties, in output order (the target's where there is one).
    ties: second name -> the key of `recipes` whose tensor it shares.
    dropped: source key -> why it is not used.
    filled: target buffers which torch itself fills when they are absent.
    others: alias -> header of each other source. guards: what must be true of the values.
    header: of the output. outcome: exact / renamed / adapted / initialized / missing.
    notes: what a user should know and nobody needs to fix. steps: each rule's work, for `explain`.
    rules, variables: what it was made by. is_repeated: the source bears the digest of these rules already.
    optimizer: what becomes of the optimizer's state in the source.
    """

    recipes: Mapping[str, Recipe]
    ties: Mapping[str, str]
    dropped: Mapping[str, str]
    filled: tuple[str, ...]
    header: Header
    outcome: Outcome
    source: Header
    target: Header | None = None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""
    optimizer: OptimizerPlan = field(default_factory=OptimizerPlan)
    is_repeated: bool = False
    others: Mapping[str, Header] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    rules: Rules = field(default_factory=Rules, compare=False, repr=False)
    variables: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    given_source: Any = field(default=None, compare=False, repr=False)
    given_target: Any = field(default=None, compare=False, repr=False)
    given_others: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def keeps_optimizer(self) -> bool:
        """Whether the output holds optimizer state where the source does, as it stood or following its parameters."""
        return self.optimizer.fate != "dropped"
