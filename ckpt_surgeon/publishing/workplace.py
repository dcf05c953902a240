"""workplace: the folder beside a destination in which its new output grows.

It is called `.NAME.ckpt-surgeon-tmp`, is locked, is closed to other users, and is removed at the end, or by the next run once
its lock is free. While two folders are swapped in two steps it also holds the old one.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckpt_surgeon import disk
from ckpt_surgeon.disk import TEMPORARY_SUFFIX
from ckpt_surgeon.errors import DiskError, LockedError
from ckpt_surgeon.locks import FileLock

__all__ = ["put_aside", "workplace", "workplace_path"]

# Names within it, which no destination may bear.
_LOCK, _REPLACED = f"lock{TEMPORARY_SUFFIX}", f"replaced{TEMPORARY_SUFFIX}"
# File systems allow 255 bytes; the rest is for the dot and the suffix.
_MAX_NAME_BYTES = 200


@contextmanager
def workplace(path: str) -> Iterator[str]:
    """The locked, empty folder in which the output for `path` grows; it goes at the end, whatever happens."""
    folder = workplace_path(path)
    lock: FileLock | None = None
    try:
        with disk.reported(path):
            lock = _claim(folder, path)
            _restore(folder, path)
            _empty(folder)
        yield folder
    finally:
        try:
            _leave(folder, path, lock)
        except BaseException:  # a signal, which comes once: nothing hinders the second time
            _leave(folder, path, lock)
            raise


def put_aside(path: str, folder: str) -> None:
    """Move what stands at `path` into its workplace, from where it gets its name back unless another takes it."""
    disk.system.rename(path, os.path.join(folder, _REPLACED))


def workplace_path(path: str) -> str:
    """Where the output for `path` grows."""
    folder, name = os.path.split(path)
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, f".{name}{TEMPORARY_SUFFIX}")


def _claim(folder: str, path: str) -> FileLock:
    """The lock of the folder, which is made when it lacks: again when the run before removes it in between."""
    while True:
        with suppress(FileExistsError):
            disk.system.mkdir(folder, 0o700)
        try:
            return _lock(folder)
        except LockedError as error:
            raise LockedError("another run is writing it", where=path, hint="wait until it is done, or write to another path") from error
        except DiskError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def _lock(folder: str) -> FileLock:
    """The lock of a folder; what a link of its name leads to is not ours to empty."""
    with disk.reported(folder):
        found = disk.status(folder, follows=False)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        hint = "it is no leftover of a run: remove it, or write to another path"
        raise DiskError("this name is needed for a temporary folder, and is taken", where=folder, hint=hint)
    return FileLock(os.path.join(folder, _LOCK))


def _leave(folder: str, path: str, lock: FileLock | None) -> None:
    """Remove the folder, unless another run has it; what the system refuses to remove is left to the next run."""
    with suppress(OSError, DiskError):
        lock = lock or _lock(folder)  # without one, it was not given, or a signal came before it was
        try:
            _restore(folder, path)
            _empty(folder)
        finally:
            lock.release()
    with suppress(OSError):
        disk.system.rmdir(folder)


def _restore(folder: str, path: str) -> None:
    """Give back the name of a folder which a run, cut short between the two steps of its swap, had put aside."""
    replaced = os.path.join(folder, _REPLACED)
    if disk.status(replaced, follows=False) is not None and disk.status(path, follows=False) is None:
        disk.system.rename(replaced, path)


def _empty(folder: str) -> None:
    """Remove everything in the folder but its lock; links are removed, not followed."""
    for name in disk.system.listdir(folder):
        if name != _LOCK:
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    if not stat.S_ISDIR(disk.system.lstat(path).st_mode):
        disk.system.unlink(path)
        return
    for name in disk.system.listdir(path):
        _remove(os.path.join(path, name))
    disk.system.rmdir(path)
