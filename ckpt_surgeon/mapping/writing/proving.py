"""The proof of a suggestion: the plan which its rules make gives each target key what the links say, and nothing to any other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ckpt_surgeon.comparison import fits
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.mapping.writing.changing import bound
from ckpt_surgeon.planning import Derived, Plan, Recipe, Source, make_plan
from ckpt_surgeon.rules.rule import Allow, Rules
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["differing", "proof", "refused", "touched", "wanted_recipes"]

_ANYTHING = Allow((Pattern.parse("**"),), (Pattern.parse("**"),), (Pattern.parse("**"),))


def proof(rules: Rules, source: Header, target: Header) -> Plan:
    """The plan of the rules, whatever they leave missing or over."""
    return make_plan(rules, source, target, allow=_ANYTHING)


def wanted_recipes(links: Sequence[Link], source: Header, target: Header) -> dict[str, Recipe]:
    """Target key -> what the links say that it is made of. Raises RulesError for a link which no rule can carry out."""
    made: dict[str, Recipe] = {}
    for link in links:
        inputs = tuple(_input(key, made, source) for key in link.sources)
        for key, recipe in zip(link.targets, _outputs(link, inputs, target), strict=True):
            if key in made:
                raise RulesError(f"two links make {escape(key)}")
            made[key] = recipe
    return {key: recipe for key, recipe in made.items() if key in target.entries}


def _input(key: str, made: Mapping[str, Recipe], source: Header) -> Recipe:
    """The source's own tensor, or what an earlier link made under this name."""
    if key in source.entries:
        return Source(source.canonical(key), source.entries[key])
    if key not in made:
        raise RulesError(f"{escape(key)} is no key of the source, and no earlier link makes it")
    return made[key]


def _outputs(link: Link, inputs: tuple[Recipe, ...], target: Header) -> tuple[Recipe, ...]:
    if link.change is None:
        if len(inputs) != len(link.targets):
            raise RulesError(f"{escape(link.targets[0])}: without an op one key becomes one key")
        return inputs
    op = bound(link, target)
    specs = tuple(recipe.spec for recipe in inputs)
    plain = tuple(spec for spec in specs if isinstance(spec, TensorSpec))
    if len(plain) < len(specs):
        raise RulesError(f"{escape(link.sources[0])} is no plain tensor")
    return tuple(Derived(op, inputs, at, spec) for at, spec in enumerate(op.infer(plain)))


def refused(links: Sequence[Link], source: Header, target: Header) -> str:
    """Why no rule can carry out the links; empty where one can."""
    try:
        made = wanted_recipes(links, source, target)
    except RulesError as error:
        return "; ".join(problem.what for problem in error.problems)
    except (TypeError, KeyError) as error:
        return str(error)
    wrong = next((key for key, recipe in made.items() if not fits(recipe.spec, target.entries[key])), None)
    return "" if wrong is None else f"{escape(wrong)} would be {made[wrong].spec}, the target wants {target.entries[wrong]}"


def differing(plan: Plan, wanted: Mapping[str, Recipe]) -> list[str]:
    """The target keys which the plan makes of something else than is wanted, or though nothing is; or does not make."""
    filled = set(plan.filled)
    made = {key: plan.recipes[plan.ties.get(key, key)] for key in (*plan.recipes, *plan.ties) if key not in filled}
    return [key for key in dict.fromkeys((*wanted, *made)) if not _is_same(made.get(key), wanted.get(key), _tied(key, plan, wanted))]


def _tied(key: str, plan: Plan, wanted: Collection[str]) -> bool:
    """Whether the key is made because the target ties it to one which is wanted."""
    return key not in wanted and plan.ties.get(key, key) in wanted


def _is_same(made: Recipe | None, wanted: Recipe | None, is_tied: bool) -> bool:
    if is_tied or made == wanted:
        return True
    if not isinstance(made, Derived) or wanted is None or made.op.name != "reshape" or made.inputs != (wanted,):
        return False
    return fits(wanted.spec, made.spec)  # `[1]` for `[]`, which the plan reshapes by itself


def touched(plan: Plan) -> Iterator[set[str]]:
    """For each step of the plan the target keys in which it has a part."""
    parts: list[set[str]] = []
    ends = {key: {key} for key in (*plan.recipes, *plan.ties)}
    for step in reversed(plan.steps):
        found: set[str] = set()
        before: dict[str, set[str]] = {}
        for inputs, outputs in step.changes:
            reached = {end for key in outputs for end in ends.pop(key, ())}
            found |= reached
            for key in inputs:
                before.setdefault(key, set()).update(reached)
        for key, reached in before.items():
            ends.setdefault(key, set()).update(reached)
        parts.append(found)
    return reversed(parts)
