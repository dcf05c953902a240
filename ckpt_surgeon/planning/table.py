"""The table which rules rewrite: key -> Cell, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move, Tie
from ckpt_surgeon.planning.recipe import Recipe, Source, sources_of
from ckpt_surgeon.spec import Header

__all__ = ["Cell", "Table", "edited", "initial_table", "listed", "placed"]

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands under a key.

    identity: equal for tied keys. origin: the source key it came in under (empty: it was computed). by: the rule which gave
    it its name (empty: it has it from the source). reads: the source keys which it is made of, under their own names, in order.
    """

    recipe: Recipe
    identity: object
    origin: str = ""
    by: str = ""
    reads: tuple[str, ...] = ()


Table = Mapping[str, Cell]


def initial_table(source: Header, file: str = "") -> dict[str, Cell]:
    """Every entry of a source under its own key; tied keys share the recipe of the first."""
    table = {}
    for key, entry in source.entries.items():
        first = source.canonical(key)
        table[key] = Cell(Source(first, entry, file), (file, first), key, reads=(key,))
    return table


def edited(table: Table, edits: Sequence[Edit], where: str) -> dict[str, Cell]:
    """The table after the edits of one rule: all matches are taken out before any is put back."""
    moves = {edit.source: edit.target for edit in edits if isinstance(edit, Move) and edit.source != edit.target}
    drops = {edit.source for edit in edits if isinstance(edit, Drop)}
    twins: dict[str, list[Copy | Tie]] = {}
    for edit in edits:
        if isinstance(edit, Copy | Tie):
            twins.setdefault(edit.source, []).append(edit)

    def entries() -> Iterable[tuple[str, Cell]]:
        for key, cell in table.items():
            if key in drops:
                continue
            target = moves.get(key)
            yield (key, cell) if target is None else (target, replace(cell, by=where))
            for twin in twins.get(key, ()):
                # No place names a copy for good: rules joined from two documents may stand at the same one.
                identity = cell.identity if isinstance(twin, Tie) else object()
                yield twin.target, replace(cell, identity=identity, by=where)

    return _unique(entries(), where)


def placed(table: Table, outputs: Mapping[str, Sequence[tuple[str, Cell]]], consumed: frozenset[str], where: str) -> dict[str, Cell]:
    """The table without the consumed keys; `outputs[key]` stand where `key` stood, those of the empty key at the end."""

    def entries() -> Iterable[tuple[str, Cell]]:
        for key, cell in table.items():
            yield from outputs.get(key, ())
            if key not in consumed:
                yield key, cell
        yield from outputs.get("", ())

    return _unique(entries(), where)


def _unique(entries: Iterable[tuple[str, Cell]], where: str) -> dict[str, Cell]:
    table: dict[str, Cell] = {}
    problems = []
    for key, cell in entries:
        if key in table:
            problems.append(_collision(key, table[key], cell, where))
        else:
            table[key] = cell
    if problems:
        more = len(problems) - _MOST_LISTED
        if more > 0:
            problems = [*problems[:_MOST_LISTED], Problem(f"... and {more} more keys with two recipes", where)]
        raise RulesError(problems)
    return table


def _collision(key: str, first: Cell, second: Cell, where: str) -> Problem:
    described = " and ".join(f"{_sources(cell)} ({cell.by or 'as it stands in the source'})" for cell in (first, second))
    return Problem(f"two recipes for {escape(key)}: {described}", where, "drop or rename one of them first")


def _sources(cell: Cell) -> str:
    names = [escape(source.key) for source in sources_of(cell.recipe)]
    if isinstance(cell.recipe, Source) and cell.origin:
        names = [escape(cell.origin)]
    return " + ".join(names) or "new values"


def listed(keys: Sequence[str], show: Callable[[str], str] = escape) -> str:
    """The first keys of a list, for a message."""
    more = len(keys) - _MOST_LISTED
    return ", ".join(show(key) for key in keys[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
