"""One rule on tensors: match, bind, infer, put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.grouping import Group, group
from ckpt_surgeon.keys.matching import matches_any
from ckpt_surgeon.keys.patience import TooSlowError
from ckpt_surgeon.ops.protocol import Run, TensorOp
from ckpt_surgeon.planning.applied import Applied, Surroundings, passes, target_entry
from ckpt_surgeon.planning.expecting import check_count, idle_patterns
from ckpt_surgeon.planning.recipe import Derived, Source, Step
from ckpt_surgeon.planning.table import Cell, Maker, Table, listed, placed
from ckpt_surgeon.planning.taking import check_aliases
from ckpt_surgeon.rules.rule import Allow, Rule
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

__all__ = ["apply_tensor_rule"]


def apply_tensor_rule(rule: Rule, op: TensorOp, table: Table, beside: Surroundings, by: Maker) -> Applied:
    """A rule on tensors: all matches leave the table before any output is put back. Raises RulesError with all that is wrong.

    What it takes of other sources stays there.
    """
    aliases = {pattern.alias for pattern in rule.sources if pattern.alias and op.arity != "0->1"}
    check_aliases(aliases, table, beside.others)
    cells: Table = {**table, **beside.named(aliases)} if aliases & set(beside.others) else table
    groups = _groups(rule, op, table, cells, beside)
    check_count(rule, [", ".join(each.inputs or each.outputs) for each in groups], cells)
    results: list[tuple[Group, list[Cell]]] = []
    problems: list[Problem] = []
    for each in groups:
        try:
            results.append((each, _derive(rule, op, each, cells, beside)))
        except TooSlowError:
            raise
        except RulesError as error:
            problems += error.problems
    if problems:
        raise RulesError(problems)
    changed = [(each, made) for each, made in results if made]
    consumed = frozenset(key for each, _ in changed for key in each.inputs if key in table)
    places: dict[str, list[tuple[str, Cell]]] = {}
    for each, made in changed:
        first = next((key for key in each.inputs if key in table), "")
        places.setdefault(first, []).extend(zip(each.outputs, made, strict=True))
    step = Step(rule.where, op.name, tuple((each.inputs, each.outputs) for each, _ in changed), rule.why)
    notes = tuple(idle_patterns(rule, table)) if op.arity == "1->1" else ()
    return Applied(placed(table, places, consumed, by), step, {}, notes)


def _groups(rule: Rule, op: TensorOp, table: Table, cells: Table, beside: Surroundings) -> list[Group]:
    target = beside.target
    if op.arity == "0->1":
        if target is None:
            names = [pattern.text for pattern in rule.sources if pattern.is_literal]
        else:
            names = [key for key in target.entries if matches_any(rule.sources, key)]
        return [Group((), (key,), {}) for key in names if key not in table]
    if rule.targets:
        others = {alias: tuple(names) for alias, names in beside.others.items()} if cells is not table else {}
        known = target.entries if target else ()
        groups = group(list(table), rule.sources, rule.targets, lambda inputs: _count(op, inputs, cells), known, others=others)
        return [each for each in groups if all(passes(rule, key, table, target) for key in each.inputs if key in table)]
    if cells is not table:
        raise RulesError("`match` is for keys of the main source: they stay where they are", hint="write `source: ...` and `target: ...`")
    keys = [key for key in table if matches_any(rule.sources, key)]
    return [Group((key,), (key,), {}) for key in keys if passes(rule, key, table, target)]


def _count(op: TensorOp, inputs: tuple[str, ...], cells: Table) -> int | None:
    return op.count(_specs(op, inputs, cells))


def _specs(op: TensorOp, inputs: tuple[str, ...], cells: Table) -> tuple[TensorSpec, ...]:
    specs = []
    for key in inputs:
        spec = cells[key].recipe.spec
        if isinstance(spec, Opaque):
            raise RulesError(f"{op.name}: {escape(key)} is no plain tensor ({spec}); it can only be renamed, copied or dropped")
        specs.append(spec)
    return tuple(specs)


def _derive(rule: Rule, op: TensorOp, each: Group, cells: Table, beside: Surroundings) -> list[Cell]:
    """The cells of a group's outputs; empty where the op changes nothing (`fit` on a shape which fits)."""
    name = escape(each.inputs[0] if each.inputs else each.outputs[0])
    try:
        specs = _specs(op, each.inputs, cells)
        bound = _keyed(op.bind(len(each.outputs), _bound_targets(op, each, beside.target)), each)
        produced = bound.infer(specs)
    except RulesError as error:
        raise RulesError(Problem(f"{name}: {problem.what}", problem.where, problem.hint) for problem in error.problems) from error
    if len(produced) != len(each.outputs):
        raise RulesError(f"{name}: {op.name} gives {len(produced)} tensors for {len(each.outputs)} keys: {listed(list(each.outputs))}")
    _check_casts(specs, dict(zip(each.outputs, produced, strict=True)), beside.allow)
    if produced == specs and each.inputs == each.outputs and _moves_nothing(bound, specs):
        return []
    inputs = tuple(cells[key].recipe for key in each.inputs) or _model_input(bound, each, produced)
    identity = (bound, tuple(cells[key].identity for key in each.inputs) or each.outputs)
    reads = tuple(dict.fromkeys(name for key in each.inputs for name in cells[key].reads))
    return [Cell(Derived(bound, inputs, i, spec), (identity, i), "", rule.where, reads) for i, spec in enumerate(produced)]


def _moves_nothing(op: TensorOp, specs: tuple[TensorSpec, ...]) -> bool:
    """Whether each output is the input of its number, byte for byte."""
    runs = op.spans(specs)
    whole = tuple((Run(i, 0, spec.nbytes),) if spec.nbytes else () for i, spec in enumerate(specs))
    return runs is not None and runs == whole


def _bound_targets(op: TensorOp, each: Group, target: Header | None) -> tuple[TensorSpec, ...] | None:
    if not op.needs_target and (target is None or any(key not in target.tensors for key in each.outputs)):
        return None
    entries = [target_entry(key, target) for key in each.outputs]
    specs = tuple(entry for entry in entries if isinstance(entry, TensorSpec))
    if len(specs) != len(entries):
        raise RulesError(f"the target's {listed(list(each.outputs))} is no plain tensor")
    return specs


def _model_input(op: TensorOp, each: Group, produced: tuple[TensorSpec, ...]) -> tuple[Source, ...]:
    """What `init: {value: model}` reads: the same key of the model's own initialization."""
    if op.parameters().get("value") != "model":
        return ()
    return (Source(each.outputs[0], produced[0], f"model:{op.parameters()['seed']}"),)


def _keyed(op: TensorOp, each: Group) -> TensorOp:
    """`init: {value: normal}` knows its key, since it draws other numbers for each."""
    if op.parameters().get("value") != "normal":
        return op
    return replace(op, key=each.outputs[0])  # type: ignore[type-var]  # every op is a dataclass


def _check_casts(specs: tuple[TensorSpec, ...], produced: Mapping[str, TensorSpec], allow: Allow) -> None:
    for key, spec in produced.items():
        narrowed = [str(found.dtype) for found in specs if not spec.dtype.holds(found.dtype)]
        if narrowed and not matches_any(allow.casts, key):
            raise RulesError(
                f"{escape(key)}: {narrowed[0]} -> {spec.dtype} would lose values",
                hint=f"say `allow: {{casts: [{escape(key)!r}]}}` if that is meant",
            )
