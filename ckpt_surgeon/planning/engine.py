"""Rules x source Header x target Header -> Plan. Pure: everything which headers can tell is known, or raised, here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_surgeon.comparison import Outcome, coverage_of
from ckpt_surgeon.errors import CoverageError
from ckpt_surgeon.planning.optimizer import Optimizers, optimizer_notes, optimizer_plan
from ckpt_surgeon.planning.recipe import Plan, Recipe
from ckpt_surgeon.planning.rewriting import Draft, class_of, rewrite, tied
from ckpt_surgeon.planning.settling import Settled, settle
from ckpt_surgeon.planning.stamping import REPEATED, is_repeated, stamped
from ckpt_surgeon.planning.table import Table
from ckpt_surgeon.rules.rule import Allow, Rules
from ckpt_surgeon.spec import Header, Kind

__all__ = ["make_plan"]


def make_plan(
    rules: Rules | None,
    source: Header,
    target: Header | None,
    *,
    variables: Mapping[str, Any] | None = None,
    allow: Allow | None = None,
    require_coverage: float | None = None,
    optimizers: Optimizers | None = None,
    others: Mapping[str, Header] | None = None,
) -> Plan:
    """The whole surgery as a value.

    rules: None is a conversion. allow: joins what the rules allow. require_coverage: a share of the target's elements.
    optimizers: what the optimizers beside the source hold; where that is not given, they stay only while they need not follow.
    others: alias -> header of each other source which rules may name.
    Raises RulesError (a rule is wrong for these keys), NothingLoadedError, or CoverageError (see `settle`, and for guards which do not
    hold); each carries every problem of its phase.
    """
    rules = (rules or Rules()).allowing(allow or Allow())
    draft = rewrite(rules, source, target, variables=variables, others=others)
    settled = Settled(draft.table)
    if target is not None:
        settled = settle(draft.table, target, rules.allow, draft.torch_metadata)
    plan = replace(_assembled(draft, settled, target, rules, optimizers or Optimizers()), variables=dict(variables or {}))
    if require_coverage is not None and plan.outcome.coverage < require_coverage:
        raise CoverageError(f"coverage is {plan.outcome.coverage:.4f} of the target's elements, required is {require_coverage}")
    return _guarded(plan, rules) if rules.guards else plan


def _guarded(plan: Plan, rules: Rules) -> Plan:
    """The plan with those guards which need values. Raises CoverageError with all which do not hold on its header."""
    from ckpt_surgeon.planning.guarding import check_guards
    from ckpt_surgeon.rules.guards import EqualGuard, FiniteGuard

    check_guards(rules.guards, plan)
    return replace(plan, guards=tuple(guard for guard in rules.guards if isinstance(guard, EqualGuard | FiniteGuard)))


def _assembled(draft: Draft, settled: Settled, target: Header | None, rules: Rules, optimizers: Optimizers) -> Plan:
    recipes, ties = tied(settled.table)
    order = list(settled.table)
    if target is not None:
        ties |= _target_ties({*recipes, *ties}, ties, target)
        order = [key for key in target.entries if key in recipes or key in ties]
    cells = settled.table if target is None else {key: settled.table.get(key) or settled.table[ties[key]] for key in order}
    outcome = _outcome(draft, settled, cells, target, rules)
    recipes, ties = _in_order(order, recipes, ties)
    repeated = is_repeated(draft.source, rules)
    optimizer = optimizer_plan(draft.source, recipes, target, outcome, optimizers)
    header = Header(
        {key: recipes[ties.get(key, key)].spec for key in order},
        kinds=_kinds(cells, draft.source, target),
        aliases=ties,
        metadata=stamped(draft.source, outcome, recipes, order, rules.digest if rules.rules else ""),
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
        others=draft.others,
    )


def _in_order(order: list[str], recipes: Mapping[str, Recipe], ties: Mapping[str, str]) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Recipes and ties in output order, where the first of tied names bears the recipe."""
    if not ties and order == list(recipes):
        return dict(recipes), {}
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
