"""FileLock: one process at a time."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Self

from ckpt_surgeon import disk
from ckpt_surgeon.disk import is_same_file
from ckpt_surgeon.errors import LockedError

__all__ = ["FileLock"]


class FileLock:
    """The exclusive lock of a lock file, which is made when it lacks and removed when the lock is given back."""

    def __init__(self, path: str, *, wait: bool = False) -> None:
        """Raises LockedError when another process holds it (with `wait`: blocks until it is free), else DiskError."""
        self.path = path
        try:
            self._descriptor = _locked_descriptor(path, wait)
        except BlockingIOError as error:
            raise LockedError(
                "another process is writing here", where=path, hint="wait until it is done, or choose another path"
            ) from error
        except OSError as error:
            raise disk.disk_error(error, path) from error
        self._is_held = True

    def release(self) -> None:
        """Remove the lock file and give the lock back; a second call does nothing, or what a signal kept the first from.

        A lock file which stays, since the system refuses to remove it, is taken over by the next run.
        """
        if not self._is_held:
            return
        with suppress(OSError):
            if is_same_file(disk.system.fstat(self._descriptor), disk.system.lstat(self.path)):  # else it is the next holder's
                disk.system.unlink(self.path)
        self._is_held = False
        with suppress(OSError):
            disk.system.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _locked_descriptor(path: str, wait: bool) -> int:
    """The descriptor of the locked file at `path`: tried again when its last holder removed it in between."""
    while True:
        descriptor = disk.system.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            disk.system.lock(descriptor, wait)
            if is_same_file(disk.system.fstat(descriptor), disk.system.lstat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            disk.system.close(descriptor)
            raise
        disk.system.close(descriptor)
