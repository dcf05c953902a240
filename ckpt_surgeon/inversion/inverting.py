"""A plan -> the rules which take its output back to its source, key by key and bit by bit; or all that cannot be taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace

from ckpt_surgeon.errors import InverseError, Problem, RulesError
from ckpt_surgeon.inversion.general import covering
from ckpt_surgeon.inversion.names import dropping, renaming_back, twins_back, twins_of
from ckpt_surgeon.inversion.proving import check, tie_repairs
from ckpt_surgeon.inversion.tensors import Undone, narrowed, undone_groups, ways_back
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import NameOp, TensorOp
from ckpt_surgeon.ops.reshaping import Reshape
from ckpt_surgeon.planning.applied import Applied, Surroundings
from ckpt_surgeon.planning.applying import apply_rule
from ckpt_surgeon.planning.recipe import Change, Plan
from ckpt_surgeon.planning.table import Table, initial_table
from ckpt_surgeon.rules.rule import Allow, Rule, Rules
from ckpt_surgeon.spec import TensorSpec

__all__ = ["invert_plan"]

_HINT = "What is left out, averaged or rounded is gone; keep the source, or leave these keys out of the rule."


def invert_plan(plan: Plan) -> Rules:
    """The rules which lead from the plan's output back to its source: the same keys, specs and ties; their order may be another.

    They are made for the keys of this plan, and hold no conditions. Every op is undone bit for bit by what its own `inverse` says;
    that the whole leads back is proven on the headers. What was taken of other sources as it is, is left out.
    Raises InverseError with every rule and key which cannot be taken back.
    """
    work = _Work()
    table: Table = initial_table(plan.source)
    beside = Surroundings.of(plan.target, plan.rules.allow, plan.others)
    for rule in plan.rules.rules:
        if rule.condition is None or rule.condition.holds(plan.variables):
            applied = apply_rule(rule, table, beside)
            work.undo(rule, applied, table)
            table = applied.table
    work.settle(plan, table)
    if work.problems:
        raise InverseError(work.problems)
    inverse = Rules(tuple(rule for step in reversed(work.steps) for rule in step), Allow(casts=work.casts))
    inverse = replace(inverse, rules=(*inverse.rules, *tie_repairs(inverse, plan)))
    check(inverse, plan)
    return inverse


@dataclass(slots=True)
class _Work:
    """What has been found so far: the rules which undo each step, in the order of the steps, and what cannot be undone."""

    steps: list[list[Rule]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    casts: tuple[Pattern, ...] = ()

    def undo(self, rule: Rule, applied: Applied, before: Table) -> None:
        """Add the rules which undo one rule."""
        is_tensors = isinstance(rule.op, TensorOp)
        undoing: Callable[[Rule, Applied, Table], list[Rule]] = self._tensors if is_tensors else _names
        try:
            rules = undoing(rule, applied, before)
        except RulesError as error:
            self.problems += [replace(each, where=each.where or rule.where, hint=each.hint or _HINT) for each in error.problems]
            return
        why = f"undoes {rule.where} ({rule.op.name})"
        self.steps.append([replace(each, why=why, where=f"the inverse of {rule.where}") for each in rules])

    def _tensors(self, rule: Rule, applied: Applied, before: Table) -> list[Rule]:
        after, changes = applied.table, applied.step.changes
        added = [change for change in changes if not any(key in before for key in change[0])]
        made = [key for _, outputs in added for key in outputs]
        groups = undone_groups([change for change in changes if change not in added], before, after)
        rules, _ = ways_back(rule, groups, after)
        narrow = narrowed(groups, after, before)
        self.casts += tuple(map(Pattern.parse, covering(narrow, [*before, *after]))) if narrow else ()
        return [*map(Rule, dropping(made, after)), *rules]

    def settle(self, plan: Plan, table: Table) -> None:
        """Add what undoes the end of the plan, where its table was fitted to the target."""
        held = plan.header.entries
        surplus = [key for key in table if key not in held]
        staying = [key for key in table if key in held]
        twins = twins_of(surplus, table, staying)
        lost = [key for key in surplus if key not in twins]
        if lost:
            self.problems.append(Problem(f"left out, since the target has no such keys: {listed(lost)}", hint=_HINT))
            return
        fitted = initial_table(plan.header)
        reshaped = [(key, table[key].recipe.spec) for key in staying if table[key].recipe.spec != held[key]]
        groups = [Undone(Reshape(spec.shape), ((key,), (key,))) for key, spec in reshaped if isinstance(spec, TensorSpec)]
        ops = dropping([key for key in held if key not in table], list(held))
        rules, _ = ways_back(Rule(Reshape((1,)), (Pattern.parse("**"),)), groups, fitted)
        self.steps.append([*map(Rule, ops), *rules, *map(Rule, twins_back(twins, staying))])


def _names(rule: Rule, applied: Applied, before: Table) -> list[Rule]:
    """The rules which undo a rule on names. Raises RulesError naming the keys which it left out for good."""
    assert not isinstance(rule.op, TensorOp)
    return [Rule(op) for op in _name_ops(rule.op, applied.step.changes, before, applied.table)]


def _name_ops(op: NameOp, changes: Sequence[Change], before: Table, after: Table) -> Iterator[NameOp]:
    moves = {outputs[0]: inputs[0] for inputs, outputs in changes if len(outputs) == 1 and inputs[0] in before}
    taken = [outputs[0] for inputs, outputs in changes if len(outputs) == 1 and inputs[0] not in before]  # of another source
    twins = [*taken, *(outputs[1] for _, outputs in changes if len(outputs) == 2)]
    dropped = [inputs[0] for inputs, outputs in changes if not outputs]
    gone = set(dropped)
    staying = [key for key in before if key not in gone]
    same = twins_of(dropped, before, staying)
    lost = [key for key in dropped if key not in same]
    if lost:
        raise RulesError(f"{op.name}: left out, and nowhere else: {listed(lost)}")
    yield from dropping(twins, after)
    added = set(twins)
    yield from renaming_back(op, moves, [key for key in after if key not in added])
    yield from twins_back(same, staying)
