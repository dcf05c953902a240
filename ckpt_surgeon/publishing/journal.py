"""Journal: which file is edited in place, and all which stands and will stand in its changed parts. Pure, but for `read_journal`.

The device is not kept: the same disk may bear another number after a restart.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from itertools import accumulate, chain, pairwise
from typing import Final, Self

from ckpt_surgeon import disk
from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MAX_JOURNAL_BYTES", "Journal", "read_journal"]

# The header of 200,000 keys twice takes 100 MB; a journal is held in memory.
MAX_JOURNAL_BYTES: Final = 512 * 1024 * 1024
# An edit of ours makes two changes at most.
_MAX_CHANGES: Final = 16
_MAGIC: Final = b"ckpt-surgeon journal 1\n"
_HEAD: Final = struct.Struct("<4Q")  # inode, old and new size, number of changes
_CHANGE: Final = struct.Struct("<3Q")  # offset, bytes of old and of new
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_DAMAGED: Final = "the journal of the in-place edit is damaged, or is no journal at all"
# A journal gets its name only once it is whole: something else has been at it since.
_UNDAMAGED_FILE: Final = "bring back a copy of the file, or, if it proves to be whole (`verify`), remove the journal beside it"
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Journal:
    """`inode`: of the file to which `edit` is done."""

    inode: int
    edit: Edit

    def to_bytes(self) -> bytes:
        """The journal as it stands on the disk. Raises LimitError for one which nobody would read."""
        edit = self.edit
        table = b"".join(_CHANGE.pack(each.offset, len(each.old), len(each.new)) for each in edit.changes)
        head = _MAGIC + _HEAD.pack(self.inode, edit.old_nbytes, edit.new_nbytes, len(edit.changes)) + table
        body = b"".join([head, *chain.from_iterable((each.old, each.new) for each in edit.changes)])
        if len(body) + _DIGEST_BYTES > MAX_JOURNAL_BYTES:
            raise LimitError(
                f"the edit's journal would take {len(body):,} bytes: {MAX_JOURNAL_BYTES:,} are allowed", hint="write a new file: -o OUT"
            )
        return body + hashlib.sha256(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`. Raises CorruptError for anything else."""
        body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        start = len(_MAGIC) + _HEAD.size
        if not body.startswith(_MAGIC) or len(body) < start or hashlib.sha256(body).digest() != digest:
            raise CorruptError(_DAMAGED, hint=_UNDAMAGED_FILE)
        inode, old_nbytes, new_nbytes, count = _HEAD.unpack_from(body, len(_MAGIC))
        if count > _MAX_CHANGES or start + count * _CHANGE.size > len(body):
            raise CorruptError(_DAMAGED, hint=_UNDAMAGED_FILE)
        rows = list(_CHANGE.iter_unpack(body[start : start + count * _CHANGE.size]))
        ends = list(accumulate((n for _, *lengths in rows for n in lengths), initial=start + count * _CHANGE.size))
        if ends[-1] != len(body):
            raise CorruptError(_DAMAGED, hint=_UNDAMAGED_FILE)
        texts = [body[begin:end] for begin, end in pairwise(ends)]
        changes = (Change(row[0], old, new) for row, old, new in zip(rows, texts[::2], texts[1::2], strict=True))
        try:
            return cls(inode, Edit(tuple(changes), old_nbytes, new_nbytes))
        except ValueError as error:
            raise CorruptError(f"{_DAMAGED}: {error}", hint=_UNDAMAGED_FILE) from error


def read_journal(path: str) -> Journal:
    """The journal at `path`. Raises UnsafeError for one which another user could have made, CorruptError, LimitError, DiskError."""
    with disk.reported(path):
        found = disk.system.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        hint = "if it is no journal of yours, remove it; nothing was written"
        raise UnsafeError("this is no file of yours alone, which the journal of an in-place edit is", where=path, hint=hint)
    with InputFile(path) as file:
        if not file.is_in_place() or file.nbytes > MAX_JOURNAL_BYTES:
            raise LimitError(f"a journal of {file.nbytes:,} bytes: {MAX_JOURNAL_BYTES:,} are allowed", where=path)
        try:
            return Journal.from_bytes(file.read(0, file.nbytes))
        except CorruptError as error:
            raise error.located(path) from error
