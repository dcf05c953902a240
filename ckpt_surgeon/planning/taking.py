"""What rules take of other sources: which of them a rule names, and the edits of a rule on names which takes their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.aliases import alias_of, of_source
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import Edit, SourcedOp
from ckpt_surgeon.planning.applied import Surroundings
from ckpt_surgeon.planning.table import Table
from ckpt_surgeon.rules.rule import Rule
from ckpt_surgeon.spec import Opaque

__all__ = ["Taken", "check_aliases", "refuse_ambiguous", "take_names", "unused_sources"]

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Taken:
    """The edits of a rule on names which take keys of other sources, and the cells of those sources."""

    edits: list[Edit] = field(default_factory=list)
    others: Table = field(default_factory=dict)


def check_aliases(aliases: Iterable[str], table: Table, others: Mapping[str, Table]) -> None:
    """RulesError for an alias which names no source, unless keys of the main source really begin with it."""
    for alias in dict.fromkeys(aliases):
        if not alias or alias in others or any(key.startswith(of_source(alias, "")) for key in table):
            continue
        declared = f"declared: {', '.join(others)}" if others else f"declare it: `sources: {{{alias}: PATH}}`, or --source {alias}=PATH"
        raise RulesError(f"no source is called {alias!r}", hint=declared)


def take_names(rule: Rule, op: SourcedOp, table: Table, beside: Surroundings) -> Taken:
    """What a rule on names takes of other sources.

    Raises RulesError for an alias which is not declared, for a source of which it would take nothing (but for `expect: any`), and for
    an entry which is no plain tensor.
    """
    check_aliases(op.aliases, table, beside.others)
    parts = {alias: part for alias, part in op.by_source(beside.others).items() if alias}
    others = beside.named(parts)
    edits: list[Edit] = []
    problems: list[Problem] = []
    for alias, part in parts.items():
        found = part.edits(list(beside.others[alias]), None)
        if not found and rule.expect != "any":
            problems.append(Problem(f"{part.name}: none of its patterns matches a key of the source {alias!r}"))
        edits += found
    opaque = [edit.source for edit in edits if isinstance(others[edit.source].recipe.spec, Opaque)]
    problems += [Problem(f"{escape(key)} is no plain tensor; of another source only tensors are taken") for key in opaque[:_MOST_LISTED]]
    if problems:
        raise RulesError(problems)
    return Taken(edits, others)


def refuse_ambiguous(table: Table, others: Mapping[str, Table]) -> None:
    """RulesError where keys of the output begin as those of another source do."""
    wrong = [key for key in table if alias_of(key) in others] if others else []
    if wrong:
        what = f"{escape(wrong[0])} begins like a key of the source {alias_of(wrong[0])!r}, and is none"
        raise RulesError(what, hint="give the source another alias; a target never names a source")


def unused_sources(table: Table, others: Mapping[str, Table]) -> tuple[str, ...]:
    """A sentence for each other source of which the output takes nothing."""
    used = {alias_of(key) for cell in table.values() for key in cell.reads} if others else set()
    return tuple(f"the source {alias!r} is declared, and nothing of it is used" for alias in others if alias not in used)
