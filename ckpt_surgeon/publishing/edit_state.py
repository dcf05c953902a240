"""How far an edit has come, by the bytes which stand in the file: old, new, between the two, or neither. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ckpt_surgeon.formats.edit import Change, Edit

__all__ = ["State", "state_of"]

State = Literal["old", "new", "between", "foreign"]

# Most of an edit's bytes were written in blocks: only where a block is neither old nor new each byte is looked at.
_BLOCK: Final = 4096


def state_of(edit: Edit, nbytes: int, found: Sequence[bytes]) -> State:
    """The state of a file of `nbytes` bytes, in whose changed parts `found` stands, as far as it reaches.

    between: each byte is an old or a new one; beyond the old end it may also be 0, where the system lost what was written there.
    """
    pairs = list(zip(edit.changes, found, strict=True))
    if nbytes == edit.old_nbytes and all(part == change.old for change, part in pairs):
        return "old"
    if nbytes == edit.new_nbytes and all(part == change.new for change, part in pairs):
        return "new"
    is_within = min(edit.old_nbytes, edit.new_nbytes) <= nbytes <= max(edit.old_nbytes, edit.new_nbytes)
    return "between" if is_within and all(_is_mixed(change, part) for change, part in pairs) else "foreign"


def _is_mixed(change: Change, found: bytes) -> bool:
    """Whether each byte found is the old or the new one of its place."""
    nbytes = max(len(change.old), len(change.new))
    old = change.old.ljust(nbytes, b"\0")
    new = change.new + change.old[len(change.new) :]
    return all(_is_block_mixed(found[i : i + _BLOCK], old[i : i + _BLOCK], new[i : i + _BLOCK]) for i in range(0, len(found), _BLOCK))


def _is_block_mixed(found: bytes, old: bytes, new: bytes) -> bool:
    if found in (old, new):
        return True
    return all(byte in pair for byte, *pair in zip(found, old, new, strict=False))
