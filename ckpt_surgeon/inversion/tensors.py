"""Values taken back: the groups of one rule on tensors -> the rules which undo them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.inversion.general import Form, covering, folded, plain
from ckpt_surgeon.inversion.turning import turned
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning.applied import Surroundings
from ckpt_surgeon.planning.applying import apply_rule
from ckpt_surgeon.planning.recipe import Change, Derived
from ckpt_surgeon.planning.table import Table
from ckpt_surgeon.rules.rule import Allow, Rule
from ckpt_surgeon.spec import TensorSpec

__all__ = ["Undone", "narrowed", "undone_groups", "ways_back"]

_ANY_CAST = Allow(casts=(Pattern.parse("**"),))  # what may be lost was gained by the rule which is undone


@dataclass(frozen=True, slots=True)
class Undone:
    """A group to be taken back: `change` leads from the outputs of the rule to its inputs, by `op`."""

    op: TensorOp
    change: Change


def undone_groups(changes: Sequence[Change], before: Table, after: Table) -> list[Undone]:
    """The groups of a rule with the ops which undo them. Raises RulesError naming those which none does."""
    found: list[Undone] = []
    lost: dict[str, list[str]] = {}
    for inputs, outputs in changes:
        strange = [key for key in inputs if key not in before]
        recipe = after[outputs[0]].recipe
        assert isinstance(recipe, Derived)  # a rule on tensors makes nothing else
        if strange:
            lost.setdefault(f"{recipe.op.name}: it mixes these with tensors of other sources, which cannot be undone", []).extend(inputs)
            continue
        specs = _specs(before, inputs)
        inverse = recipe.op.inverse(specs)
        if inverse is None:
            text = f"{_texts(specs)} -> {_texts(_specs(after, outputs))}"
            lost.setdefault(f"{recipe.op.name}: {text} cannot be undone bit for bit", []).extend(inputs)
        else:
            found.append(Undone(inverse, (outputs, inputs)))
    if lost:
        raise RulesError(Problem(f"{what}: {listed(keys)}") for what, keys in lost.items())
    return found


def ways_back(rule: Rule, groups: Sequence[Undone], table: Table) -> tuple[list[Rule], Table]:
    """Rules which do just what `groups` say on this table, and the table after them. Raises RulesError where none are found.

    rule: the one which is undone; its own patterns, turned round, are tried first.
    """
    rules: list[Rule] = []
    for op, changes in _by_op(groups).values():
        for candidate in _candidates(rule, op, changes, table):
            made = _applied(candidate, op, changes, table)
            if made is not None:
                rules += candidate
                table = made
                break
        else:
            raise RulesError(f"{rule.op.name}: no rule was found which takes back {listed(changes[0][0])}")
    return rules, table


def narrowed(groups: Sequence[Undone], after: Table, before: Table) -> list[str]:
    """The keys whose type becomes a narrower one on the way back."""
    pairs = [(key, spec, source) for each in groups for key, spec, source in _outputs(each, after, before)]
    return [key for key, spec, sources in pairs if not all(spec.dtype.holds(source.dtype) for source in sources)]


def _outputs(each: Undone, after: Table, before: Table) -> Iterator[tuple[str, TensorSpec, tuple[TensorSpec, ...]]]:
    inputs, outputs = each.change
    sources = _specs(after, inputs)
    return ((key, spec, sources) for key, spec in zip(outputs, _specs(before, outputs), strict=True))


def _specs(table: Table, keys: Sequence[str]) -> tuple[TensorSpec, ...]:
    specs = [table[key].recipe.spec for key in keys]
    return tuple(spec for spec in specs if isinstance(spec, TensorSpec))


def _texts(specs: Sequence[TensorSpec]) -> str:
    return " + ".join(map(str, specs[:3])) + (" + ..." if len(specs) > 3 else "")


def _by_op(groups: Sequence[Undone]) -> dict[str, tuple[TensorOp, list[Change]]]:
    """The groups which the same op takes back, together."""
    found: dict[str, tuple[TensorOp, list[Change]]] = {}
    for each in groups:
        op = _written(each.op)
        name = json.dumps([op.name, op.parameters()], sort_keys=True)
        found.setdefault(name, (op, []))[1].append(each.change)
    return found


def _written(op: TensorOp) -> TensorOp:
    """The op as a rule writes it: without what `bind` fills in."""
    given = {each.name: getattr(op, each.name) for each in fields(op) if each.name not in op.body.filled}  # type: ignore[arg-type]
    return type(op)(**given)


def _candidates(rule: Rule, op: TensorOp, changes: Sequence[Change], table: Table) -> Iterator[list[Rule]]:
    """Rules which may do it, the most telling first."""
    if not rule.targets:
        yield [Rule(op, rule.sources)]
        yield [Rule(op, tuple(map(Pattern.parse, covering([inputs[0] for inputs, _ in changes], table))))]
        return
    found = turned([each.text for each in rule.sources], [each.text for each in rule.targets])
    if found is not None:
        yield _rules(op, [Form(tuple(found[0]), tuple(found[1]), tuple(changes))])
    yield _rules(op, folded(changes, table))
    yield _rules(op, plain(changes))


def _rules(op: TensorOp, forms: Sequence[Form]) -> list[Rule]:
    """A rule for each form; none where a target is no template (a key with braces)."""
    try:
        return [Rule(op, tuple(map(Pattern.parse, form.sources)), tuple(map(Template.parse, form.targets))) for form in forms]
    except RulesError:
        return []


def _applied(rules: Sequence[Rule], op: TensorOp, changes: Sequence[Change], table: Table) -> Table | None:
    """The table after these rules, if they make just these changes by just this op; else None."""
    made: list[Change] = []
    try:
        for rule in rules:
            applied = apply_rule(rule, table, Surroundings(None, _ANY_CAST))
            made += applied.step.changes
            table = applied.table
    except RulesError:
        return None
    recipes = [(outputs, table[outputs[0]].recipe) for _, outputs in made]
    is_same = all(isinstance(recipe, Derived) and recipe.op == op.bind(len(outputs), None) for outputs, recipe in recipes)
    return table if is_same and sorted(made) == sorted(changes) else None
