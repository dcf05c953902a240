"""The best one-to-one assignment in a small table of scores, and what the runner-up would score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Choice", "assign"]

Scores = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Choice:
    """A row's column in the best assignment.

    margin: what is lost, per pair changed, where the row takes its next best column (whose owner then takes this one), or none.
    rival: that column; None where none is next best. contested: whether any other row or column is next best, not none.
    """

    row: int
    column: int
    margin: float
    rival: int | None
    contested: bool


def assign(scores: Scores, nothing: float = 0.0) -> tuple[Choice, ...]:
    """The pairs which together score most; a row or column may stay alone, which scores `nothing`.

    Source: Kuhn, "The Hungarian method for the assignment problem" (1955), by shortest augmenting paths.
    """
    if not scores or not scores[0]:
        return ()
    rows = {column: row for row, column in _pairs(scores, nothing)}
    return tuple(_choice(scores, nothing, row, column, rows) for column, row in sorted(rows.items(), key=lambda pair: pair[1]))


def _choice(scores: Scores, nothing: float, row: int, column: int, rows: Mapping[int, int]) -> Choice:
    score = scores[row][column]
    margin, rival, contested = score - nothing, None, False
    for other, gain in enumerate(scores[row]):
        if other == column:
            continue
        loss = score - gain
        if other in rows:
            owner = rows[other]
            loss = (loss + scores[owner][other] - max(scores[owner][column], nothing)) / 2
        if loss < margin:
            margin, rival, contested = loss, other, True
    for owner, line in enumerate(scores):
        if owner not in rows.values() and score - line[column] < margin:
            margin, contested = score - line[column], True
    return Choice(row, column, margin, rival, contested)


def _pairs(scores: Scores, nothing: float) -> Iterator[tuple[int, int]]:
    """The assignment as pairs; rows and columns which score more alone, whatever they take, are left out of the table."""
    rows = [i for i, line in enumerate(scores) if max(line) >= nothing]
    columns = [j for j, column in enumerate(zip(*scores, strict=True)) if max(column) >= nothing]
    for at, found in enumerate(_columns([[scores[i][j] for j in columns] for i in rows], nothing)):
        if found is not None:
            yield rows[at], columns[found]


def _columns(scores: Scores, nothing: float) -> list[int | None]:
    """Each row's column; every row also has a column of its own which stands for none."""
    rows, columns = len(scores), len(scores[0]) if scores else 0
    costs = [[-min(max(score, -1e9), 1e9) for score in line] + [-nothing] * rows for line in scores]
    owner = [-1] * (columns + rows)
    lift, drop = [0.0] * rows, [0.0] * (columns + rows)
    for start in range(rows):
        _augment(costs, start, owner, lift, drop)
    found: list[int | None] = [None] * rows
    for column in range(columns):
        if owner[column] >= 0:
            found[owner[column]] = column
    return found


def _augment(costs: Scores, start: int, owner: list[int], lift: list[float], drop: list[float]) -> None:
    """Give row `start` a column, moving other rows along the cheapest path."""
    width = len(owner)
    distance, before, done = [inf] * width, [-1] * width, [False] * width
    row, column = start, -1
    while True:
        base = distance[column] if column >= 0 else 0.0
        for j in range(width):
            length = base + costs[row][j] - lift[row] - drop[j]
            if not done[j] and length < distance[j] - 1e-12:
                distance[j], before[j] = length, column
        end = min((j for j in range(width) if not done[j]), key=lambda j: distance[j])
        if owner[end] < 0:
            break
        done[end] = True
        row, column = owner[end], end
    _shift(start, end, owner, lift, drop, distance, done)
    while end >= 0:
        previous = before[end]
        owner[end] = owner[previous] if previous >= 0 else start
        end = previous


def _shift(
    start: int,
    end: int,
    owner: Sequence[int],
    lift: list[float],
    drop: list[float],
    distance: Sequence[float],
    done: Sequence[bool],
) -> None:
    """Move the prices so that the cheapest path costs nothing more."""
    lift[start] += distance[end]
    for j, reached in enumerate(done):
        if reached:
            lift[owner[j]] += distance[end] - distance[j]
            drop[j] -= distance[end] - distance[j]
