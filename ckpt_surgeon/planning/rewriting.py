"""Rules x a source's table -> Draft: the table after all rules, before it is held against the target. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.aliases import of_source, split_declared
from ckpt_surgeon.keys.patience import TooSlowError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.applied import Surroundings
from ckpt_surgeon.planning.applying import apply_rule
from ckpt_surgeon.planning.columns import Columns
from ckpt_surgeon.planning.modules import moved_metadata
from ckpt_surgeon.planning.recipe import Recipe, Source, Step
from ckpt_surgeon.planning.table import Cell, Table, initial_table
from ckpt_surgeon.planning.taking import refuse_ambiguous, unused_sources
from ckpt_surgeon.rules.node import MAX_PROBLEMS
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.spec import Header

__all__ = ["Draft", "class_of", "rewrite", "tied"]


@dataclass(frozen=True)
class Draft:
    """A table after all rules, before it is held against the target."""

    table: Table
    steps: tuple[Step, ...]
    dropped: Mapping[str, str]
    source: Header
    notes: tuple[str, ...] = ()
    others: Mapping[str, Header] = field(default_factory=dict)

    @property
    def header(self) -> Header:
        """The header which the table amounts to."""
        _, ties = tied(self.table)
        return Header(
            {key: cell.recipe.spec for key, cell in self.table.items()},
            aliases=ties,
            torch_metadata=self.torch_metadata,
            metadata=self.source.metadata,
        )

    @property
    def torch_metadata(self) -> dict[str, Mapping[str, Any]]:
        """The `_metadata` as it moved with its modules."""
        moved: dict[str, Mapping[str, Any]] = {}
        for alias, header in {"": self.source, **self.others}.items():
            if not header.torch_metadata:
                continue
            moves = self._moves(alias)
            taken = moved_metadata(moves, header.torch_metadata, header.entries) if moves or not alias else {}
            moved |= {module: entry for module, entry in taken.items() if module not in moved}
        return moved

    def _moves(self, alias: str) -> list[tuple[str, str]]:
        """(source key, output key) of all which reads one source."""
        read = ((split_declared(name, self.others), key) for key, cell in self.table.items() for name in cell.reads)
        return [(source, key) for (of, source), key in read if of == alias]

    @property
    def new(self) -> tuple[str, ...]:
        """The keys which read no weight of the source."""
        return tuple(key for key, cell in self.table.items() if class_of(key, cell) == "initialized")


def rewrite(
    rules: Rules,
    source: Header,
    target: Header | None,
    *,
    variables: Mapping[str, Any] | None = None,
    others: Mapping[str, Header] | None = None,
) -> Draft:
    """Apply the rules, in order, to the source's table. others: alias -> header of each other source.

    Raises RulesError with the problems of all rules.
    """
    table: Table = initial_table(source)
    beside = Surroundings.of(target, rules.allow, others or {})
    refuse_ambiguous(table, beside.others)
    steps: list[Step] = []
    dropped: dict[str, str] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for number, rule in enumerate(rules.rules, 1):
        try:
            if rule.condition is not None and not rule.condition.holds(variables or {}):
                notes.append(f"{rule.where}: {rule.op.name} is left out: its `if` does not hold")
                continue
            applied = apply_rule(rule, table, beside, steps)
        except RulesError as error:
            problems += _following(problems, error.located(rule.where).problems)
            if isinstance(error, TooSlowError) or len(problems) >= MAX_PROBLEMS:
                break
            continue
        table = applied.table
        steps.append(replace(applied.step, number=number))
        dropped |= applied.dropped
        notes += applied.notes
    if problems:
        raise RulesError(problems)
    table = dict(Columns.of(table).rows())
    refuse_ambiguous(table, beside.others)
    return Draft(table, tuple(steps), dropped, source, (*notes, *unused_sources(table, beside.others)), others or {})


def _following(earlier: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """The problems of a rule; after a rule which failed they say that they may come of it."""
    if not earlier:
        return list(problems)
    return [replace(problem, what=f"{problem.what} (may follow from {earlier[0].where})") for problem in problems]


def class_of(key: str, cell: Cell) -> str:
    """`exact`, `renamed`, `adapted` or `initialized`. A tied name which stays is exact, though its recipe names the first."""
    if isinstance(cell.recipe, Source):
        if key in (cell.recipe.key, cell.origin):
            return "exact"
        file = cell.recipe.file
        return "exact" if file and key == cell.origin.removeprefix(of_source(file, "")) else "renamed"
    return "initialized" if _is_new(cell.recipe) else "adapted"


def _is_new(recipe: Recipe) -> bool:
    """Whether a recipe reads no weight of the source."""
    if isinstance(recipe, Source):
        return recipe.is_initial
    from ckpt_surgeon.ops.initializing import Init

    return isinstance(recipe.op, Init) or all(_is_new(part) for part in recipe.inputs)


def tied(table: Table) -> tuple[dict[str, Recipe], dict[str, str]]:
    """The recipes of the distinct tensors, and the other names of those which have several."""
    first_of: dict[object, str] = {}
    recipes: dict[str, Recipe] = {}
    ties: dict[str, str] = {}
    for key, cell in table.items():
        first = first_of.setdefault(cell.identity, key)
        if first == key:
            recipes[key] = cell.recipe
        else:
            ties[key] = first
    return recipes, ties
