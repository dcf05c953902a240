"""One rule on a table: on names here, on tensors in `tensor_rules`, which is imported for the first rule which needs it."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Drop, Edit, Move, NameOp, SourcedOp, TensorOp
from ckpt_surgeon.planning.applied import Applied, Surroundings, passes
from ckpt_surgeon.planning.doubling import doubled_prefixes
from ckpt_surgeon.planning.expecting import check_count, idle_patterns
from ckpt_surgeon.planning.recipe import Change, Step
from ckpt_surgeon.planning.table import Maker, Table, edited, with_taken
from ckpt_surgeon.planning.taking import Taken, take_names
from ckpt_surgeon.rules.rule import Rule

__all__ = ["apply_rule"]


def apply_rule(rule: Rule, table: Table, beside: Surroundings, steps: Sequence[Step] = ()) -> Applied:
    """One rule on a table. steps: of the rules before it. Raises RulesError, located at the rule, with all that is wrong with it."""
    by = Maker(rule.where, steps)
    try:
        if isinstance(rule.op, TensorOp):
            from ckpt_surgeon.planning.tensor_rules import apply_tensor_rule

            return apply_tensor_rule(rule, rule.op, table, beside, by)
        return _apply_name_rule(rule, rule.op, table, beside, by)
    except RulesError as error:
        raise error.located(rule.where) from error


def _apply_name_rule(rule: Rule, op: NameOp, table: Table, beside: Surroundings, by: Maker) -> Applied:
    target = beside.target
    if target is None and op.needs_target:
        raise RulesError(f"{op.name} needs a target: it takes its names from there", hint="give a target (--target)")
    taken = Taken()
    own: NameOp | None = op
    if isinstance(op, SourcedOp) and op.aliases:
        taken = take_names(rule, op, table, beside)
        own = op.by_source(beside.others).get("")
    edits = own.edits(list(table), target and target.entries) if own else []
    if rule.when is not None:
        edits = [edit for edit in edits if passes(rule, edit.source, table, target)]
    every = [*edits, *taken.edits]
    check_count(rule, [edit.source for edit in every if not (isinstance(edit, Drop) and edit.is_rest)], table)
    dropped = [edit.source for edit in edits if isinstance(edit, Drop)]
    reasons = {key: f"dropped by {rule.where} ({op.name})" for name in dropped for key in table[name].reads}
    changes = tuple([_change(edit) for edit in every if not (isinstance(edit, Move) and edit.source == edit.target)])
    step = Step(rule.where, op.name, changes, rule.why)
    after = with_taken(edited(table, edits, by), taken.edits, taken.others, by)
    return Applied(after, step, reasons, (*idle_patterns(rule, table), *doubled_prefixes(rule, edits)))


def _change(edit: Edit) -> Change:
    if isinstance(edit, Move):  # by far the most
        return (edit.source,), (edit.target,)
    return (edit.source,), () if isinstance(edit, Drop) else (edit.source, edit.target)
