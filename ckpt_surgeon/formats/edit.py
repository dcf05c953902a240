"""Edit: the few bytes of a file which change when it is edited in place, with those which stood there before. Pure."""

from __future__ import annotations

from itertools import pairwise

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Change", "Edit"]


@dataclass(frozen=True, slots=True)
class Change:
    """From byte `offset` on, `new` comes in the place of `old`; only at the end of a file may they differ in length."""

    offset: int
    old: bytes
    new: bytes

    @property
    def end(self) -> int:
        """The offset after the last byte which either takes."""
        return self.offset + max(len(self.old), len(self.new))


@dataclass(frozen=True, slots=True)
class Edit:
    """What makes of a file of `old_nbytes` bytes one of `new_nbytes`. The changes stand in order, and none reaches into another.

    Raises ValueError for changes which do not lead from the one size to the other.
    """

    changes: tuple[Change, ...]
    old_nbytes: int
    new_nbytes: int

    def __post_init__(self) -> None:
        starts = (change.offset for change in self.changes)
        if any(start < 0 for start in starts) or any(first.end > second.offset for first, second in pairwise(self.changes)):
            raise ValueError("the changes are out of order, or overlap")
        for i, change in enumerate(self.changes, 1):
            end = change.offset + len(change.old)
            is_tail = i == len(self.changes) and end == self.old_nbytes
            if end > self.old_nbytes or not (is_tail or len(change.old) == len(change.new)):
                raise ValueError("a change reaches beyond the end of the file, or moves what follows it")
        if self.old_nbytes + sum(len(change.new) - len(change.old) for change in self.changes) != self.new_nbytes:
            raise ValueError("the changes do not lead to the new size")

    @property
    def is_empty(self) -> bool:
        """Whether the file stays as it is."""
        return all(change.old == change.new for change in self.changes)
