"""Which old class a new one is: by number, or by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.ops.arguments import integer, texts

__all__ = ["MAX_CLASSES", "rows_by_label", "rows_by_number"]

MAX_CLASSES = 1_000_000  # the largest sets of labels have some hundred thousand
_MAX_DIGITS = 18  # of a row's number: what an int64 surely holds


def rows_by_number(pairs: object) -> tuple[int | None, ...]:
    """`{NEW: OLD}` -> for each new class up to the last one named the old one, or None."""
    if not isinstance(pairs, Mapping) or not pairs:
        raise RulesError(f"head: map is {pairs!r}; a mapping of new rows to old ones is wanted: {{0: 5, 1: 7}}")
    found: dict[int, int] = {}
    for key, value in pairs.items():
        new = _row(key)
        if new in found:
            raise RulesError(f"head: map names the new row {new} twice")
        found[new] = integer(value, f"head: map: {new}")
    return tuple(found.get(new) for new in range(max(found) + 1))


def _row(key: object) -> int:
    """A mapping's key, which YAML and JSON have as text."""
    digits = str(key)
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS
    if not is_number or int(digits) >= MAX_CLASSES:
        raise RulesError(f"head: map has the new row {escape(digits)}; a number from 0 to {MAX_CLASSES - 1} is wanted")
    return int(digits)


def rows_by_label(source: object, target: object) -> tuple[tuple[int | None, ...], int]:
    """For each label of the target the number of the same one in the source, or None; and how many the source has."""
    old, new = _labels(source, "source_labels"), _labels(target, "target_labels")
    number = {label: i for i, label in enumerate(old)}
    rows = tuple(number.get(label) for label in new)
    if all(row is None for row in rows):
        hint = f"The first ones: {escape(old[0])!r} in the source, {escape(new[0])!r} in the target."
        raise RulesError("head: source_labels and target_labels have no label in common", hint=hint)
    return rows, len(old)


def _labels(given: object, word: str) -> Sequence[str]:
    """Labels, none of them twice."""
    if isinstance(given, str):
        raise RulesError(f"head: {word} is {given!r}; a list of labels is wanted", hint="The name of a file may stand in a rules file.")
    labels = texts(given, f"head: {word}")
    if len(labels) > MAX_CLASSES:
        raise RulesError(f"head: {word} has {len(labels)} labels; at most {MAX_CLASSES} are read")
    seen: dict[str, int] = {}
    for i, label in enumerate(labels):
        first = seen.setdefault(label, i)
        if first != i:
            raise RulesError(f"head: {word} has {escape(label)!r} twice: number {first} and {i}")
    return labels
