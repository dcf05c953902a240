"""Renames which meet their own result: `encoder.` put before names which begin with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.ops.protocol import Edit, Move
from ckpt_surgeon.rules.rule import Rule

__all__ = ["doubled_prefixes"]


def doubled_prefixes(rule: Rule, edits: Sequence[Edit]) -> list[str]:
    """A note for each prefix which the rule puts before keys that bear it already: most often it has run on them before.

    A rule which takes its names from the target means what it does.
    """
    if rule.op.needs_target:
        return []
    moves = [edit for edit in edits if isinstance(edit, Move) and len(edit.target) > len(edit.source)]
    found: dict[str, list[Move]] = {}
    for move in moves:
        for prefix in _added(move):
            found.setdefault(prefix, []).append(move)
    return [_note(rule, prefix, doubled, len(moves)) for prefix, doubled in found.items()]


def _added(move: Move) -> Iterator[str]:
    """What was put before the key, if the key begins with it already."""
    prefix = move.target.removesuffix(move.source)
    if prefix.endswith(".") and prefix + move.source == move.target and move.source.startswith(prefix):
        yield prefix


def _note(rule: Rule, prefix: str, doubled: Sequence[Move], total: int) -> str:
    place, more = escape(doubled[0].target), " ..." if len(doubled) > 1 else ""
    return (
        f"{rule.where}: {rule.op.name}: {len(doubled)} of {total} keys bear the prefix {escape(prefix)} already: {place}{more} would result"
    )
