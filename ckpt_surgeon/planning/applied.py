"""Applied: what came of one rule; and which keys it takes where its target has a say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.recipe import Step
from ckpt_surgeon.planning.table import Table, initial_table
from ckpt_surgeon.rules.rule import Allow, Rule
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["Applied", "Surroundings", "passes", "target_entry"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule sees beside the table: the target, what may be lost, and other sources: alias -> their keys, as `alias::key`."""

    target: Header | None
    allow: Allow
    others: Mapping[str, Table] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Header | None, allow: Allow, others: Mapping[str, Header]) -> Surroundings:
        """The same, of the headers of the other sources."""
        return cls(target, allow, {alias: initial_table(header, alias) for alias, header in others.items()})

    def named(self, aliases: Collection[str]) -> Table:
        """The keys of those other sources which are among the aliases."""
        return {name: cell for alias, table in self.others.items() if alias in aliases for name, cell in table.items()}


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of one rule: the new table, the step for `explain`, why source keys left, what a user should know."""

    table: Table
    step: Step
    dropped: Mapping[str, str]
    notes: tuple[str, ...]


def passes(rule: Rule, key: str, table: Table, target: Header | None) -> bool:
    """Whether `when: mismatched` lets a key pass (every key passes where the rule has no `when`)."""
    if rule.when is None:
        return True
    wanted = target_entry(key, target)
    found = table[key].recipe.spec
    return isinstance(found, TensorSpec) and isinstance(wanted, TensorSpec) and found.shape != wanted.shape


def target_entry(key: str, target: Header | None) -> object:
    """The target's entry of a key. Raises RulesError without a target, and for a key which it lacks."""
    if target is None:
        raise RulesError("this rule looks its keys up in the target, and there is none", hint="give a target (--target)")
    if key not in target.entries:
        raise RulesError(f"the target has no key {escape(key)}", hint="put this rule after the renames, or narrow its pattern")
    return target.entries[key]
