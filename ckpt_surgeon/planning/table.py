"""The table which rules rewrite: key -> Cell, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.aliases import of_source
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move, Tie
from ckpt_surgeon.planning.recipe import Recipe, Source, sources_of
from ckpt_surgeon.spec import Header

__all__ = ["Cell", "Table", "edited", "initial_table", "listed", "placed", "with_taken"]

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands under a key.

    identity: equal for tied keys. origin: the source key it came in under (empty: it was computed). by: the rule which gave
    it its name (empty: it has it from the source). reads: the source keys which it is made of, under their own names, in order.
    A key of another source is named `alias::key` in both.
    """

    recipe: Recipe
    identity: object
    origin: str = ""
    by: str = ""
    reads: tuple[str, ...] = ()

    def named(self, by: str) -> Cell:
        """The same cell under a name which the rule `by` gave it; `replace` would take five times as long, for each key and rule."""
        return Cell(self.recipe, self.identity, self.origin, by, self.reads)


Table = Mapping[str, Cell]


def initial_table(source: Header, file: str = "") -> dict[str, Cell]:
    """Every entry of a source under its own key, of another source under `alias::key`; tied keys share the recipe of the first."""
    table = {}
    for key, entry in source.entries.items():
        first = source.canonical(key)
        name = of_source(file, key)
        table[name] = Cell(Source(first, entry, file), (file, first), name, reads=(name,))
    return table


def edited(table: Table, edits: Sequence[Edit], where: str) -> Table:
    """The table after the edits of one rule: all matches are taken out before any is put back."""
    moves = {edit.source: edit.target for edit in edits if isinstance(edit, Move) and edit.source != edit.target}
    drops = {edit.source for edit in edits if isinstance(edit, Drop)}
    twins: dict[str, list[Copy | Tie]] = {}
    for edit in edits:
        if isinstance(edit, Copy | Tie):
            twins.setdefault(edit.source, []).append(edit)
    if not (drops or twins):
        return _moved(table, moves, where)
    entries: list[tuple[str, Cell]] = []
    for key, cell in table.items():
        if key in drops:
            continue
        target = moves.get(key)
        entries.append((key, cell) if target is None else (target, cell.named(where)))
        # No place names a copy for good: rules joined from two documents may stand at the same one.
        entries += [
            (twin.target, replace(cell, identity=cell.identity if isinstance(twin, Tie) else object(), by=where))
            for twin in twins.get(key, ())
        ]
    return _unique(entries, where)


def with_taken(table: Table, edits: Sequence[Edit], others: Table, where: str) -> Table:
    """The table with what a rule takes of other sources at its end. What they hold stays there for other rules."""
    if not edits:
        return table
    taken = [(edit, others[edit.source]) for edit in edits if isinstance(edit, Move | Copy | Tie)]
    cells = [(edit.target, replace(cell, identity=object() if isinstance(edit, Copy) else cell.identity, by=where)) for edit, cell in taken]
    return _unique([*table.items(), *cells], where)


def _moved(table: Table, moves: Mapping[str, str], where: str) -> Table:
    """The table where nothing but names change. `index` finds the few keys of a rule among many in a fraction of a loop's time."""
    if not moves:
        return table
    keys, cells = list(table), list(table.values())
    at = -1
    for source, target in moves.items():
        try:
            at = keys.index(source, at + 1)
        except ValueError:  # an op whose edits do not come in table order
            return _unique([(moves.get(key, key), cell.named(where) if key in moves else cell) for key, cell in table.items()], where)
        keys[at], cells[at] = target, cells[at].named(where)
    moved = dict(zip(keys, cells, strict=True))
    return moved if len(moved) == len(table) else _unique(list(zip(keys, cells, strict=True)), where)


def placed(table: Table, outputs: Mapping[str, Sequence[tuple[str, Cell]]], consumed: frozenset[str], where: str) -> dict[str, Cell]:
    """The table without the consumed keys; `outputs[key]` stand where `key` stood, those of the empty key at the end."""
    entries: list[tuple[str, Cell]] = []
    for key, cell in table.items():
        entries += outputs.get(key, ())
        if key not in consumed:
            entries.append((key, cell))
    return _unique([*entries, *outputs.get("", ())], where)


def _unique(entries: Sequence[tuple[str, Cell]], where: str) -> dict[str, Cell]:
    """The table of these entries. Raises RulesError which names the first keys with two recipes."""
    table = dict(entries)
    if len(table) == len(entries):
        return table
    first: dict[str, Cell] = {}
    problems: list[tuple[str, Cell]] = []
    for key, cell in entries:
        if key in first:
            problems.append((key, cell))
        else:
            first[key] = cell
    more = len(problems) - _MOST_LISTED
    told = [_collision(key, first[key], cell, where) for key, cell in problems[:_MOST_LISTED]]
    raise RulesError([*told, Problem(f"... and {more} more keys with two recipes", where)] if more > 0 else told)


def _collision(key: str, first: Cell, second: Cell, where: str) -> Problem:
    described = " and ".join(f"{_sources(cell)} ({cell.by or 'as it stands in the source'})" for cell in (first, second))
    return Problem(f"two recipes for {escape(key)}: {described}", where, "drop or rename one of them first")


def _sources(cell: Cell) -> str:
    names = [escape(source.name) for source in sources_of(cell.recipe)]
    if isinstance(cell.recipe, Source) and cell.origin:
        names = [escape(cell.origin)]
    return " + ".join(names) or "new values"


def listed(keys: Sequence[str], show: Callable[[str], str] = escape) -> str:
    """The first keys of a list, for a message."""
    more = len(keys) - _MOST_LISTED
    return ", ".join(show(key) for key in keys[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
