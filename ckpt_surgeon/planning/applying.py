"""One rule on a table: match, bind, infer, put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.grouping import Group, group
from ckpt_surgeon.keys.matching import matches_any
from ckpt_surgeon.keys.patience import TooSlowError
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move, NameOp, Run, TensorOp, Tie
from ckpt_surgeon.ops.shaping import filled
from ckpt_surgeon.planning.expecting import check_count, idle_patterns
from ckpt_surgeon.planning.recipe import Change, Derived, Source, Step
from ckpt_surgeon.planning.table import Cell, Table, edited, listed, placed
from ckpt_surgeon.rules.rule import Allow, Rule
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

__all__ = ["Applied", "apply_rule"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of one rule: the new table, the step for `explain`, why source keys left, what a user should know."""

    table: Table
    step: Step
    dropped: Mapping[str, str]
    notes: tuple[str, ...]


def apply_rule(rule: Rule, table: Table, target: Header | None, allow: Allow) -> Applied:
    """One rule on a table. Raises RulesError, located at the rule, with all that is wrong with it."""
    try:
        if isinstance(rule.op, TensorOp):
            return _apply_tensor_rule(rule, rule.op, table, target, allow)
        return _apply_name_rule(rule, rule.op, table, target)
    except RulesError as error:
        raise error.located(rule.where) from error


def _apply_name_rule(rule: Rule, op: NameOp, table: Table, target: Header | None) -> Applied:
    if target is None and op.needs_target:
        raise RulesError(f"{op.name} needs a target: it takes its names from there", hint="give a target (--target)")
    edits = op.edits(list(table), target and target.entries)
    if rule.when is not None:
        edits = [edit for edit in edits if _passes(rule, edit.source, table, target)]
    check_count(rule, [edit.source for edit in edits if not (isinstance(edit, Drop) and edit.is_rest)], table)
    dropped = [edit.source for edit in edits if isinstance(edit, Drop)]
    reasons = {key: f"dropped by {rule.where} ({op.name})" for name in dropped for key in table[name].reads}
    changes = tuple(_change(edit) for edit in edits if not (isinstance(edit, Move) and edit.source == edit.target))
    step = Step(rule.where, op.name, changes, rule.why)
    return Applied(edited(table, edits, rule.where), step, reasons, tuple(idle_patterns(rule, table)))


def _change(edit: Edit) -> Change:
    if isinstance(edit, Drop):
        return (edit.source,), ()
    if isinstance(edit, Copy | Tie):
        return (edit.source,), (edit.source, edit.target)
    return (edit.source,), (edit.target,)


def _passes(rule: Rule, key: str, table: Table, target: Header | None) -> bool:
    """Whether `when: mismatched` lets a key pass (every key passes where the rule has no `when`)."""
    if rule.when is None:
        return True
    wanted = _target_entry(key, target)
    found = table[key].recipe.spec
    return isinstance(found, TensorSpec) and isinstance(wanted, TensorSpec) and found.shape != wanted.shape


def _target_entry(key: str, target: Header | None) -> object:
    if target is None:
        raise RulesError("this rule looks its keys up in the target, and there is none", hint="give a target (--target)")
    if key not in target.entries:
        raise RulesError(f"the target has no key {escape(key)}", hint="put this rule after the renames, or narrow its pattern")
    return target.entries[key]


def _apply_tensor_rule(rule: Rule, op: TensorOp, table: Table, target: Header | None, allow: Allow) -> Applied:
    groups = _groups(rule, op, table, target)
    check_count(rule, [", ".join(each.inputs or each.outputs) for each in groups], table)
    results: list[tuple[Group, list[Cell]]] = []
    problems: list[Problem] = []
    for each in groups:
        try:
            results.append((each, _derive(rule, op, each, table, target, allow)))
        except TooSlowError:
            raise
        except RulesError as error:
            problems += error.problems
    if problems:
        raise RulesError(problems)
    changed = [(each, cells) for each, cells in results if cells]
    consumed = frozenset(key for each, _ in changed for key in each.inputs)
    places: dict[str, list[tuple[str, Cell]]] = {}
    for each, cells in changed:
        places.setdefault(each.inputs[0] if each.inputs else "", []).extend(zip(each.outputs, cells, strict=True))
    step = Step(rule.where, op.name, tuple((each.inputs, each.outputs) for each, _ in changed), rule.why)
    notes = tuple(idle_patterns(rule, table)) if op.arity == "1->1" else ()
    return Applied(placed(table, places, consumed, rule.where), step, {}, notes)


def _groups(rule: Rule, op: TensorOp, table: Table, target: Header | None) -> list[Group]:
    if op.arity == "0->1":
        if target is None:
            names = [pattern.text for pattern in rule.sources if pattern.is_literal]
        else:
            names = [key for key in target.entries if matches_any(rule.sources, key)]
        return [Group((), (key,), {}) for key in names if key not in table]
    if rule.targets:
        groups = group(list(table), rule.sources, rule.targets, lambda inputs: _count(op, inputs, table), target.entries if target else ())
        return [each for each in groups if all(_passes(rule, key, table, target) for key in each.inputs)]
    keys = [key for key in table if matches_any(rule.sources, key)]
    return [Group((key,), (key,), {}) for key in keys if _passes(rule, key, table, target)]


def _count(op: TensorOp, inputs: tuple[str, ...], table: Table) -> int | None:
    return op.count(_specs(op, inputs, table))


def _specs(op: TensorOp, inputs: tuple[str, ...], table: Table) -> tuple[TensorSpec, ...]:
    specs = []
    for key in inputs:
        spec = table[key].recipe.spec
        if isinstance(spec, Opaque):
            raise RulesError(f"{op.name}: {escape(key)} is no plain tensor ({spec}); it can only be renamed, copied or dropped")
        specs.append(spec)
    return tuple(specs)


def _derive(rule: Rule, op: TensorOp, each: Group, table: Table, target: Header | None, allow: Allow) -> list[Cell]:
    """The cells of a group's outputs; empty where the op changes nothing (`fit` on a shape which fits)."""
    name = escape(each.inputs[0] if each.inputs else each.outputs[0])
    try:
        specs = _specs(op, each.inputs, table)
        bound = op.bind(len(each.outputs), _bound_targets(op, each, target))
        produced = bound.infer(specs)
    except RulesError as error:
        raise RulesError(Problem(f"{name}: {problem.what}", problem.where, problem.hint) for problem in error.problems) from error
    if len(produced) != len(each.outputs):
        raise RulesError(f"{name}: {op.name} gives {len(produced)} tensors for {len(each.outputs)} keys: {listed(list(each.outputs))}")
    _check_casts(specs, dict(zip(each.outputs, produced, strict=True)), allow)
    if produced == specs and each.inputs == each.outputs and bound.spans(specs) == _all_bytes(specs):
        return []
    inputs = tuple(table[key].recipe for key in each.inputs) or _model_input(bound, each, produced)
    identity = (bound, tuple(table[key].identity for key in each.inputs) or each.outputs)
    reads = tuple(dict.fromkeys(name for key in each.inputs for name in table[key].reads))
    return [Cell(Derived(bound, inputs, i, spec), (identity, i), "", rule.where, reads) for i, spec in enumerate(produced)]


def _all_bytes(specs: tuple[TensorSpec, ...]) -> tuple[tuple[Run, ...], ...]:
    """The spans of an op which leaves every byte where it is. One which puts rows in another order has others."""
    return tuple(filled([Run(i, 0, spec.nbytes)]) for i, spec in enumerate(specs))


def _bound_targets(op: TensorOp, each: Group, target: Header | None) -> tuple[TensorSpec, ...] | None:
    if not op.needs_target and (target is None or any(key not in target.tensors for key in each.outputs)):
        return None
    entries = [_target_entry(key, target) for key in each.outputs]
    specs = tuple(entry for entry in entries if isinstance(entry, TensorSpec))
    if len(specs) != len(entries):
        raise RulesError(f"the target's {listed(list(each.outputs))} is no plain tensor")
    return specs


def _model_input(op: TensorOp, each: Group, produced: tuple[TensorSpec, ...]) -> tuple[Source, ...]:
    """What `init: {value: model}` reads: the same key of the model's own initialization."""
    if op.parameters().get("value") != "model":
        return ()
    return (Source(each.outputs[0], produced[0], f"model:{op.parameters()['seed']}"),)


def _check_casts(specs: tuple[TensorSpec, ...], produced: Mapping[str, TensorSpec], allow: Allow) -> None:
    for key, spec in produced.items():
        narrowed = [str(found.dtype) for found in specs if not spec.dtype.holds(found.dtype)]
        if narrowed and not matches_any(allow.casts, key):
            raise RulesError(
                f"{escape(key)}: {narrowed[0]} -> {spec.dtype} would lose values",
                hint=f"say `allow: {{casts: [{escape(key)!r}]}}` if that is meant",
            )
