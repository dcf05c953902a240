"""The table which rules rewrite: key -> Cell, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.aliases import of_source
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move, Tie
from ckpt_surgeon.planning.columns import Columns
from ckpt_surgeon.planning.recipe import Recipe, Source, Step, sources_of
from ckpt_surgeon.spec import Header

__all__ = ["Cell", "Maker", "Table", "edited", "initial_table", "listed", "placed", "with_taken"]

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands under a key.

    identity: equal for tied keys. origin: the source key it came in under (empty: it was computed). by: the rule which made
    it (empty: it stands in the source). reads: the source keys which it is made of, under their own names, in order.
    A key of another source is named `alias::key` in both.
    """

    recipe: Recipe
    identity: object
    origin: str = ""
    by: str = ""
    reads: tuple[str, ...] = ()


Table = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Maker:
    """The rule at work, by its place, and the steps of those before it."""

    where: str
    steps: Sequence[Step] = ()

    def earlier(self, key: str, cell: Cell) -> str:
        """The rule which put a cell under its key: that which made it, unless a later one moved it there; empty for the source."""
        for step in reversed(self.steps):
            if step.where == cell.by or any(outputs == (key,) != inputs for inputs, outputs in step.changes):
                return step.where
        return cell.by


def initial_table(source: Header, file: str = "") -> dict[str, Cell]:
    """Every entry of a source under its own key, of another source under `alias::key`; tied keys share the recipe of the first."""
    table, aliases = {}, source.aliases
    for key, entry in source.entries.items():
        first = aliases.get(key, key)
        name = of_source(file, key)
        table[name] = Cell(Source(first, entry, file), of_source(file, first), name, reads=(name,))
    return table


def edited(table: Table, edits: Sequence[Edit], by: Maker) -> Table:
    """The table after the edits of one rule: all matches are taken out before any is put back."""
    moves: dict[str, str] = {}
    drops: set[str] = set()
    twins: dict[str, list[Copy | Tie]] = {}
    for edit in edits:
        if isinstance(edit, Move):
            if edit.source != edit.target:
                moves[edit.source] = edit.target
        elif isinstance(edit, Drop):
            drops.add(edit.source)
        else:
            twins.setdefault(edit.source, []).append(edit)
    if not (drops or twins):
        return _moved(table, moves, by)
    entries: list[tuple[str, Cell]] = []
    for key, cell in Columns.of(table).rows():
        if key in drops:
            continue
        target = moves.get(key)
        entries.append((key if target is None else target, cell))
        # No place names a copy for good: rules joined from two documents may stand at the same one.
        entries += [
            (twin.target, replace(cell, identity=cell.identity if isinstance(twin, Tie) else object(), by=by.where))
            for twin in twins.get(key, ())
        ]
    return _unique(entries, table, by)


def with_taken(table: Table, edits: Sequence[Edit], others: Table, by: Maker) -> Table:
    """The table with what a rule takes of other sources at its end. What they hold stays there for other rules."""
    if not edits:
        return table
    taken = [(edit, others[edit.source]) for edit in edits if isinstance(edit, Move | Copy | Tie)]
    cells = [
        (edit.target, replace(cell, identity=object() if isinstance(edit, Copy) else cell.identity, by=by.where)) for edit, cell in taken
    ]
    return _unique([*Columns.of(table).rows(), *cells], table, by)


def _moved(table: Table, moves: Mapping[str, str], by: Maker) -> Table:
    """The table where nothing but names change."""
    if not moves:
        return table
    moved = Columns.of(table).copy()
    names, places = moved.names, moved.places
    for at, target in [(places.pop(source), target) for source, target in moves.items()]:
        names[at], places[target] = target, at
    return moved if len(places) == len(names) else _unique(list(moved.rows()), table, by)


def placed(table: Table, outputs: Mapping[str, Sequence[tuple[str, Cell]]], consumed: frozenset[str], by: Maker) -> dict[str, Cell]:
    """The table without the consumed keys; `outputs[key]` stand where `key` stood, those of the empty key at the end."""
    entries: list[tuple[str, Cell]] = []
    for key, cell in Columns.of(table).rows():
        entries += outputs.get(key, ())
        if key not in consumed:
            entries.append((key, cell))
    return _unique([*entries, *outputs.get("", ())], table, by)


def _unique(entries: Sequence[tuple[str, Cell]], before: Table, by: Maker) -> dict[str, Cell]:
    """The table of these entries. before: as it was. Raises RulesError which names the first keys with two recipes."""
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
    told = [_collision(key, (first[key], cell), before, by) for key, cell in problems[:_MOST_LISTED]]
    raise RulesError([*told, Problem(f"... and {more} more keys with two recipes", by.where)] if more > 0 else told)


def _collision(key: str, cells: tuple[Cell, Cell], before: Table, by: Maker) -> Problem:
    """Whichever of the two stood under the key before got there by an earlier rule."""
    makers = [by.earlier(key, cell) if before.get(key) is cell else by.where for cell in cells]
    described = " and ".join(
        f"{_sources(cell)} ({maker or 'as it stands in the source'})" for cell, maker in zip(cells, makers, strict=True)
    )
    return Problem(f"two recipes for {escape(key)}: {described}", by.where, "drop or rename one of them first")


def _sources(cell: Cell) -> str:
    names = [escape(source.name) for source in sources_of(cell.recipe)]
    if isinstance(cell.recipe, Source) and cell.origin:
        names = [escape(cell.origin)]
    return " + ".join(names) or "new values"


def listed(keys: Sequence[str], show: Callable[[str], str] = escape) -> str:
    """The first keys of a list, for a message."""
    more = len(keys) - _MOST_LISTED
    return ", ".join(show(key) for key in keys[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
