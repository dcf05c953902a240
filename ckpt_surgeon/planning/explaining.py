"""One key's way through the rules: backwards from a target's key, forwards from a source's."""

from __future__ import annotations

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.aliases import of_source
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.recipe import Change, Plan, Recipe, Step
from ckpt_surgeon.spec import Entry

__all__ = ["Explanation", "Passage", "explain"]


@dataclass(frozen=True, slots=True)
class Passage:
    """One rule's work on the key: `inputs` became `outputs`."""

    where: str
    op: str
    why: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A key's way through the rules, in the rules' order.

    side: `target` (the way back to its sources) or `source` (the way forward). ends: the keys at the other end.
    recipe and classification: of a target key. reason: why a source key leads nowhere, or a target key has no recipe.
    """

    key: str
    side: str
    entry: Entry | None
    passages: tuple[Passage, ...]
    ends: tuple[str, ...]
    classification: str = ""
    recipe: Recipe | None = None
    reason: str = ""


def explain(plan: Plan, key: str) -> Explanation:
    """The way of `key`: a target's key first, else a source's. Raises RulesError for a key which neither side knows."""
    outcome = plan.outcome
    if key in plan.header.entries or key in outcome.missing_keys or key in plan.filled:
        return _backwards(plan, key)
    entries = _entries(plan)
    if key in entries:
        return _forwards(plan, key, entries[key])
    guess = nearest(key, [*plan.header.entries, *entries])
    raise RulesError(f"neither side has a key {escape(key)}", hint=f"did you mean {escape(guess)}?" if guess else "")


def _entries(plan: Plan) -> dict[str, Entry]:
    """What stands in the sources, those of others as `alias::key`."""
    others = {of_source(alias, key): entry for alias, header in plan.others.items() for key, entry in header.entries.items()}
    return {**plan.source.entries, **others}


def _backwards(plan: Plan, key: str) -> Explanation:
    first = plan.ties.get(key, key)
    wanted, passages = {first}, []
    for step in reversed(plan.steps):
        met = [change for change in step.changes if wanted & set(change[1])]
        wanted = _walked(wanted, [(outputs, inputs) for inputs, outputs in met])
        passages += [_passage(step, change) for change in met]
    reason = ""
    if key in plan.filled:
        reason = "torch fills this buffer itself"
    elif key in plan.outcome.missing_keys:
        reason = "missing: no source key leads here, and it is allowed to"
    elif first != key:
        reason = f"tied to {escape(first)}"
    has_recipe = first in plan.recipes
    ends = tuple(name for name in _entries(plan) if name in wanted) if has_recipe else ()
    entry = plan.target.entries[key] if plan.target is not None else plan.header.entries[key]
    recipe = plan.recipes.get(first)
    return Explanation(key, "target", entry, tuple(reversed(passages)), ends, plan.outcome.classes[key], recipe, reason)


def _forwards(plan: Plan, key: str, entry: Entry) -> Explanation:
    found, passages = {key}, []
    for step in plan.steps:
        met = [change for change in step.changes if found & set(change[0])]
        found = _walked(found, met)
        passages += [_passage(step, change) for change in met]
    ends = tuple(name for name in plan.header.entries if name in found)
    reason = "" if ends else plan.dropped.get(key, "")
    return Explanation(key, "source", entry, tuple(passages), ends, reason=reason)


def _walked(keys: set[str], changes: list[Change]) -> set[str]:
    """The keys after the changes of one rule, all made at once (so that a swap works)."""
    left = {key for before, _ in changes for key in before}
    return (keys - left) | {key for _, after in changes for key in after}


def _passage(step: Step, change: Change) -> Passage:
    return Passage(step.where, step.op, step.why, change[0], change[1])
