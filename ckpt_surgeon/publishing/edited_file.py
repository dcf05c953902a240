"""EditedFile: an existing file which is written in its midst; links are never followed."""

from __future__ import annotations

import os
import stat
from typing import Self

from ckpt_surgeon import disk
from ckpt_surgeon.errors import DiskError

__all__ = ["EditedFile"]


class EditedFile:
    """A regular file opened for reading and writing by offset, all in bytes."""

    def __init__(self, path: str) -> None:
        """Raises DiskError when `path` cannot be opened so, is a link, or no regular file."""
        self.path = path
        with disk.reported(path):
            self._descriptor = disk.system.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = disk.system.fstat(self._descriptor)
            except BaseException:
                disk.system.close(self._descriptor)
                raise
        self._is_open = True
        self.inode = found.st_ino
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise DiskError("not a regular file", where=path)

    @property
    def nbytes(self) -> int:
        """The size which it has now."""
        with disk.reported(self.path):
            return disk.system.fstat(self._descriptor).st_size

    def read(self, offset: int, nbytes: int) -> bytes:
        """What stands there: fewer than `nbytes` bytes where the file ends before."""
        parts: list[bytes] = []
        with disk.reported(self.path):
            while nbytes > 0 and (part := disk.system.pread(self._descriptor, nbytes, offset)):
                parts.append(part)
                offset += len(part)
                nbytes -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` from byte `offset` on."""
        rest = memoryview(data)
        with disk.reported(self.path):
            while rest:
                written = disk.system.pwrite(self._descriptor, rest, offset)
                offset += written
                rest = rest[written:]

    def resize(self, nbytes: int) -> None:
        """Cut it to this size, or fill it with zeros up to it."""
        with disk.reported(self.path):
            disk.system.truncate(self._descriptor, nbytes)

    def sync(self) -> None:
        """Bring all of it to the disk; never retried after a fault."""
        with disk.reported(self.path):
            disk.system.fsync(self._descriptor)

    def close(self) -> None:
        """Close it; a second call does nothing. A fault which the system tells only now is a DiskError."""
        if self._is_open:
            self._is_open = False
            with disk.reported(self.path):
                disk.system.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
