"""The proof: the inverse rules, applied to a plan's header, give back its source's keys, specs and ties."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_surgeon.errors import InverseError, Problem, RulesError
from ckpt_surgeon.inversion.general import covering
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import quoted
from ckpt_surgeon.ops.renaming import TieKeys
from ckpt_surgeon.ops.selecting import DropKeys
from ckpt_surgeon.planning import Plan, make_plan
from ckpt_surgeon.rules.rule import Rule, Rules
from ckpt_surgeon.spec import Header

__all__ = ["check", "tie_repairs"]

_MOST_TOLD = 5


def tie_repairs(inverse: Rules, plan: Plan) -> tuple[Rule, ...]:
    """Rules which tie again what was one tensor in the source and comes back as several equal ones."""
    found = _led_back(inverse, plan)
    loose = {
        key: first
        for key, first in plan.source.aliases.items()
        if key in found.entries and first in found.entries and found.canonical(key) != found.canonical(first)
    }
    if not loose:
        return ()
    why = "ties what the source ties"
    drop = DropKeys(covering(loose, found.entries))
    chosen = _layered(loose)
    return (Rule(drop, why=why), *(Rule(TieKeys(pairs), why=why) for pairs in chosen))


def _layered(ties: dict[str, str]) -> list[dict[str, str]]:
    """first -> second name, in as many mappings as a tensor has other names."""
    layers: list[dict[str, str]] = []
    for key, first in ties.items():
        source = quoted(first)
        layer = next((each for each in layers if source not in each), None)
        if layer is None:
            layers.append({source: key})
        else:
            layer[source] = key
    return layers


def check(inverse: Rules, plan: Plan) -> None:
    """Raises InverseError, naming some keys, unless the rules lead from the plan's header back to its source's."""
    found = _led_back(inverse, plan)
    wrong = list(_differences(found, plan.source))
    if wrong:
        raise InverseError(Problem(f"the rules do not lead back: {each}") for each in wrong[:_MOST_TOLD])


def _led_back(inverse: Rules, plan: Plan) -> Header:
    try:
        return make_plan(inverse, plan.header, None).header
    except RulesError as error:
        raise InverseError(Problem(f"the rules do not lead back: {each}") for each in error.problems) from error


def _differences(found: Header, source: Header) -> Iterator[str]:
    for key in {**source.entries, **found.entries}:
        if found.entries.get(key) != source.entries.get(key):
            yield f"{escape(key)} is {found.entries.get(key)} instead of {source.entries.get(key)}"
    ours, theirs = _tied(found), _tied(source)
    yield from (f"{', '.join(map(escape, sorted(names)))} are tied on one side only" for names in sorted(ours ^ theirs, key=sorted))


def _tied(header: Header) -> set[frozenset[str]]:
    """The sets of names which stand for one tensor."""
    groups: dict[str, set[str]] = {}
    for key, first in header.aliases.items():
        groups.setdefault(first, {first}).add(key)
    return set(map(frozenset, groups.values()))
