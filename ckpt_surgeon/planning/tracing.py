"""Plan -> Lineage. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.planning.affixes import shortened
from ckpt_surgeon.planning.lineage import AS_IT_IS, Lineage, Ran, Way, Work, plan_digest
from ckpt_surgeon.planning.recipe import Derived, Plan, Recipe, Source, Step, sources_of

__all__ = ["lineage_of"]

_PLACE = re.compile(r"[0-9]+:[0-9]+\Z")

_Trail = tuple[int, ...]
_Steps = tuple[tuple[TensorOp, int, tuple[int, ...]], ...]


def lineage_of(plan: Plan) -> Lineage:
    """Where each key of a plan's output comes from. A second name which the source had already comes from itself."""
    trails = _trails(plan.steps)
    numbers: dict[tuple[int, _Steps, _Trail], int] = {(1, (), ()): 0}
    moves: dict[str, tuple[int, tuple[str, ...]]] = {key: (0, (key,)) for key in plan.outcome.exact}
    moved: dict[_Trail, int] = {}
    for key in _changed(plan):
        recipe, trail = plan.recipes[plan.ties.get(key, key)], trails.get(key, ())
        if isinstance(recipe, Source) and trail in moved:  # by far the most
            moves[key] = moved[trail], (recipe.name if recipe.file else recipe.key,)
            continue
        sources, steps = _taken_apart(recipe)
        number = numbers.setdefault((len(sources), steps, trail), len(numbers))
        moves[key] = number, sources
        if not steps:
            moved[trail] = number
    ways = _ways(numbers)
    ordered = sorted(moves)
    digest = plan_digest(plan.header, ((key, sources, ways[way]) for key in ordered for way, sources in (moves[key],)))
    prefixes, keys = shortened(moves, ordered)
    lineage = Lineage(digest, len(moves), (), tuple(ways), prefixes, keys, plan.outcome.missing_keys)
    return _with_rules(lineage, plan.steps)


def _changed(plan: Plan) -> list[str]:
    outcome = plan.outcome
    filled = [key for key in plan.filled if key in plan.header.entries]
    taken = [key for key in outcome.exact if _is_taken(plan.recipes[plan.ties.get(key, key)])] if plan.others else []
    return [*taken, *outcome.renamed, *outcome.adapted, *outcome.initialized, *filled]


def _is_taken(recipe: Recipe) -> bool:
    """Whether it is a tensor of another source as it stands there."""
    return isinstance(recipe, Source) and bool(recipe.file)


def _taken_apart(recipe: Recipe) -> tuple[tuple[str, ...], _Steps]:
    """The source keys which a recipe reads, those of other sources as `alias::key`, and its steps: op, output, inputs by number."""
    if isinstance(recipe, Source):
        return (recipe.name,), ()
    numbers: dict[Recipe, int] = {}
    for source in sources_of(recipe):
        if not source.is_initial:
            numbers[source] = len(numbers)
    sources = tuple(source.name for source in sources_of(recipe) if not source.is_initial)
    steps: list[tuple[TensorOp, int, tuple[int, ...]]] = []
    places: dict[int, int] = {}

    def place(part: Recipe) -> int:
        if isinstance(part, Source):
            return numbers[part]
        if id(part) not in places:
            inputs = tuple(place(each) for each in part.inputs if isinstance(each, Derived) or not each.is_initial)
            places[id(part)] = len(sources) + len(steps)
            steps.append((part.op, part.output, inputs))
        return places[id(part)]

    place(recipe)
    return sources, tuple(steps)


def _ways(numbers: Mapping[tuple[int, _Steps, _Trail], int]) -> list[Way]:
    """The ways by number, of which 0 is the source as it is; steps which are alike are one."""
    works: dict[tuple[TensorOp, int, tuple[int, ...]], Work] = {}
    ways = [AS_IT_IS]
    for sources, steps, trail in list(numbers)[1:]:
        for step in steps:
            if step not in works:
                op, output, inputs = step
                works[step] = Work(op.name, op.parameters(), output, inputs)
        ways.append(Way(sources, tuple(works[step] for step in steps), trail))
    return ways


def _trails(steps: Sequence[Step]) -> dict[str, _Trail]:
    """The steps, by position, which had a part in each key that is there at the end."""
    trails: dict[str, _Trail] = {}
    for i, step in enumerate(steps):
        longer: dict[_Trail, _Trail] = {}
        found: dict[str, _Trail] = {}
        for inputs, outputs in step.changes:
            before = () if not trails else trails.get(inputs[0], ()) if len(inputs) == 1 else _joined(inputs, trails)
            after = longer.get(before) or longer.setdefault(before, (*before, i))
            for key in outputs:
                found[key] = after
        if trails:
            for inputs, _ in step.changes:
                for key in inputs:
                    trails.pop(key, None)
        trails.update(found)
    return trails


def _joined(keys: tuple[str, ...], trails: Mapping[str, _Trail]) -> _Trail:
    """The steps which had a part in any of the keys, in order."""
    return tuple(sorted({i for key in keys for i in trails.get(key, ())}))


def _with_rules(lineage: Lineage, steps: Sequence[Step]) -> Lineage:
    """The lineage with those rules which had a part in it; ways name them by their positions among these."""
    used = sorted({i for way in lineage.ways for i in way.rules})
    position = {i: j for j, i in enumerate(used)}
    ways = tuple(replace(way, rules=tuple(position[i] for i in way.rules)) if way.rules else way for way in lineage.ways)
    return replace(lineage, rules=tuple(_ran(steps[i]) for i in used), ways=ways)


def _ran(step: Step) -> Ran:
    """The rule without the name of its file."""
    place = _PLACE.search(step.where)
    return Ran(step.number, step.op, place.group() if place else "")
