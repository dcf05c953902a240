"""Rules x source Header x target Header -> Plan. Pure: everything which headers can tell is known, or raised, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckpt_surgeon.comparison import Outcome, coverage_of
from ckpt_surgeon.errors import CoverageError, Problem, RulesError
from ckpt_surgeon.keys.patience import TooSlowError
from ckpt_surgeon.planning.applying import apply_rule
from ckpt_surgeon.planning.modules import moved_metadata
from ckpt_surgeon.planning.optimizer import Optimizers, optimizer_notes, optimizer_plan
from ckpt_surgeon.planning.recipe import Plan, Recipe, Source, Step
from ckpt_surgeon.planning.settling import Settled, settle
from ckpt_surgeon.planning.stamping import REPEATED, is_repeated, stamped
from ckpt_surgeon.planning.table import Cell, Table, initial_table
from ckpt_surgeon.rules.node import MAX_PROBLEMS
from ckpt_surgeon.rules.rule import Allow, Rules
from ckpt_surgeon.spec import Header, Kind

__all__ = ["Draft", "class_of", "make_plan", "rewrite"]


@dataclass(frozen=True)
class Draft:
    """A table after all rules, before it is held against the target."""

    table: Table
    steps: tuple[Step, ...]
    dropped: Mapping[str, str]
    source: Header
    notes: tuple[str, ...] = ()

    @property
    def header(self) -> Header:
        """The header which the table amounts to."""
        _, ties = _tied(self.table)
        return Header(
            {key: cell.recipe.spec for key, cell in self.table.items()},
            aliases=ties,
            torch_metadata=self.torch_metadata,
            metadata=self.source.metadata,
        )

    @property
    def torch_metadata(self) -> dict[str, Mapping[str, Any]]:
        """The `_metadata` as it moved with its modules."""
        moves = ((source, key) for key, cell in self.table.items() for source in cell.reads)
        return moved_metadata(moves, self.source.torch_metadata, self.source.entries)

    @property
    def new(self) -> tuple[str, ...]:
        """The keys which read no weight of the source."""
        return tuple(key for key, cell in self.table.items() if class_of(key, cell) == "initialized")


def rewrite(rules: Rules, source: Header, target: Header | None, *, variables: Mapping[str, Any] | None = None) -> Draft:
    """Apply the rules, in order, to the source's table. Raises RulesError with the problems of all rules."""
    table: Table = initial_table(source)
    steps: list[Step] = []
    dropped: dict[str, str] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for number, rule in enumerate(rules.rules, 1):
        try:
            if rule.condition is not None and not rule.condition.holds(variables or {}):
                notes.append(f"{rule.where}: {rule.op.name} is left out: its `if` does not hold")
                continue
            applied = apply_rule(rule, table, target, rules.allow)
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
    return Draft(table, tuple(steps), dropped, source, tuple(notes))


def _following(earlier: Sequence[Problem], problems: Sequence[Problem]) -> list[Problem]:
    """The problems of a rule; after a rule which failed they say that they may come of it."""
    if not earlier:
        return list(problems)
    return [replace(problem, what=f"{problem.what} (may follow from {earlier[0].where})") for problem in problems]


def make_plan(
    rules: Rules | None,
    source: Header,
    target: Header | None,
    *,
    variables: Mapping[str, Any] | None = None,
    allow: Allow | None = None,
    require_coverage: float | None = None,
    optimizers: Optimizers | None = None,
) -> Plan:
    """The whole surgery as a value.

    rules: None is a conversion. allow: joins what the rules allow. require_coverage: a share of the target's elements.
    optimizers: what the optimizers beside the source hold; where that is not given, they stay only while they need not follow.
    Raises RulesError (a rule is wrong for these keys), NothingLoadedError, or CoverageError (see `settle`); each carries
    every problem of its phase.
    """
    rules = (rules or Rules()).allowing(allow or Allow())
    draft = rewrite(rules, source, target, variables=variables)
    settled = Settled(draft.table)
    if target is not None:
        settled = settle(draft.table, target, rules.allow, draft.torch_metadata)
    plan = replace(_assembled(draft, settled, target, rules, optimizers or Optimizers()), variables=dict(variables or {}))
    if require_coverage is not None and plan.outcome.coverage < require_coverage:
        raise CoverageError(f"coverage is {plan.outcome.coverage:.4f} of the target's elements, required is {require_coverage}")
    return plan


def class_of(key: str, cell: Cell) -> str:
    """`exact`, `renamed`, `adapted` or `initialized`. A tied name which stays is exact, though its recipe names the first."""
    if isinstance(cell.recipe, Source):
        return "exact" if key in (cell.recipe.key, cell.origin) else "renamed"
    return "initialized" if _is_new(cell.recipe) else "adapted"


def _is_new(recipe: Recipe) -> bool:
    """Whether a recipe reads no weight of the source."""
    if isinstance(recipe, Source):
        return bool(recipe.file)
    from ckpt_surgeon.ops.initializing import Init

    return isinstance(recipe.op, Init) or all(_is_new(part) for part in recipe.inputs)


def _tied(table: Table) -> tuple[dict[str, Recipe], dict[str, str]]:
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


def _assembled(draft: Draft, settled: Settled, target: Header | None, rules: Rules, optimizers: Optimizers) -> Plan:
    recipes, ties = _tied(settled.table)
    order = list(settled.table)
    if target is not None:
        ties |= _target_ties({*recipes, *ties}, ties, target)
        order = [key for key in target.entries if key in recipes or key in ties]
    cells = {key: settled.table.get(key) or settled.table[ties[key]] for key in order}
    outcome = _outcome(draft, settled, cells, target, rules)
    recipes, ties = _in_order(order, recipes, ties)
    repeated = is_repeated(draft.source, rules)
    optimizer = optimizer_plan(draft.source, recipes, target, outcome, optimizers)
    header = Header(
        {key: recipes[ties.get(key, key)].spec for key in order},
        kinds=_kinds(cells, draft.source, target),
        aliases=ties,
        metadata=stamped(draft.source, outcome, order, rules.digest if rules.rules else ""),
        torch_metadata=replace(draft, table=settled.table).torch_metadata,
        envelope=draft.source.envelope,
    )
    return Plan(
        recipes=recipes,
        ties=ties,
        dropped=outcome.dropped,
        filled=settled.filled,
        header=header,
        outcome=outcome,
        source=draft.source,
        target=target,
        steps=draft.steps,
        notes=(*([REPEATED] if repeated else ()), *draft.notes, *settled.notes, *optimizer_notes(draft.source, optimizer)),
        digest=rules.digest,
        is_repeated=repeated,
        rules=rules,
        optimizer=optimizer,
    )


def _in_order(order: list[str], recipes: Mapping[str, Recipe], ties: Mapping[str, str]) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Recipes and ties in output order, where the first of tied names bears the recipe."""
    first_of: dict[str, str] = {}
    for key in order:
        first_of.setdefault(ties.get(key, key), key)
    named = {key: first_of[ties.get(key, key)] for key in order}
    ordered = {key: recipes[ties.get(key, key)] for key, first in named.items() if key == first}
    return ordered, {key: first for key, first in named.items() if key != first}


def _target_ties(present: set[str], ties: Mapping[str, str], target: Header) -> dict[str, str]:
    """Target keys which are absent, but tied in the target to one which is there."""
    first_of: dict[str, str] = {}
    for key in target.entries:
        if key in present:
            first_of.setdefault(target.canonical(key), ties.get(key, key))
    found = {key: first_of.get(target.canonical(key)) for key in target.entries if key not in present}
    return {key: first for key, first in found.items() if first is not None}


def _dropped(draft: Draft, settled: Settled) -> dict[str, str]:
    """Each source key of which nothing is left, with the reason."""
    used = {key for cell in settled.table.values() for key in cell.reads}
    reasons = {**draft.dropped, **settled.dropped}
    return {key: reasons[key] for key in draft.source.entries if key not in used}


def _kinds(table: Table, source: Header, target: Header | None) -> dict[str, Kind]:
    if target is not None and target.kinds:
        return {key: kind for key, kind in target.kinds.items() if key in table}
    return {key: source.kinds[cell.origin] for key, cell in table.items() if cell.origin in source.kinds}


def _outcome(draft: Draft, settled: Settled, cells: Table, target: Header | None, rules: Rules) -> Outcome:
    keys: dict[str, list[str]] = {"exact": [], "renamed": [], "adapted": [], "initialized": []}
    filled = set(settled.filled)
    for key, cell in cells.items():
        if key not in filled:
            keys[class_of(key, cell)].append(key)
    loaded = [*keys["exact"], *keys["renamed"], *keys["adapted"], *settled.filled]
    coverage = coverage_of(target or Header({}), loaded, rules.allow.missing)
    return Outcome(
        missing_keys=settled.missing,
        unexpected_keys=settled.unexpected,
        exact=tuple(keys["exact"]),
        renamed=tuple(keys["renamed"]),
        adapted=tuple(keys["adapted"]),
        initialized=tuple(keys["initialized"]),
        filled=settled.filled,
        dropped=_dropped(draft, settled),
        coverage=coverage.by_elements,
        coverage_keys=coverage.by_keys,
        notes=(*draft.notes, *settled.notes),
    )
