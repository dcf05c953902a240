"""System, the role of the system calls in use, and PosixSystem, the real machine."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Protocol

__all__ = ["UNSUPPORTED", "PosixSystem", "System"]

# What a system or a file system answers which lacks a call, or has it not for these files (EXDEV: on two disks).
UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV})
# Flags of renameat2(2).
_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2


class System(Protocol):
    """The system calls in use, so that tests can put a faulty machine in their place."""

    def open(self, path: str, flags: int, mode: int = 0o666) -> int: ...
    def close(self, descriptor: int) -> None: ...
    def pread(self, descriptor: int, nbytes: int, offset: int) -> bytes: ...
    def write(self, descriptor: int, data: memoryview) -> int: ...
    def copy_range(self, source: int, offset: int, target: int, nbytes: int) -> int: ...
    def send_range(self, source: int, offset: int, target: int, nbytes: int) -> int: ...
    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int: ...
    def fsync(self, descriptor: int) -> None: ...
    def truncate(self, descriptor: int, nbytes: int) -> None: ...
    def reserve(self, descriptor: int, nbytes: int) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def rename_new(self, source: str, target: str) -> None: ...
    def exchange(self, first: str, second: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def mkdir(self, path: str, mode: int = 0o777) -> None: ...
    def rmdir(self, path: str) -> None: ...
    def listdir(self, path: str) -> list[str]: ...
    def stat(self, path: str) -> os.stat_result: ...
    def lstat(self, path: str) -> os.stat_result: ...
    def fstat(self, descriptor: int) -> os.stat_result: ...
    def chmod(self, path: str, mode: int) -> None: ...
    def lock(self, descriptor: int, wait: bool) -> None: ...
    def free_bytes(self, path: str) -> int: ...


class PosixSystem:
    """The real machine."""

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def pread(self, descriptor: int, nbytes: int, offset: int) -> bytes:
        return os.pread(descriptor, nbytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def copy_range(self, source: int, offset: int, target: int, nbytes: int) -> int:
        """Copy within the system, which may share the blocks; 0 at the end of the source. UNSUPPORTED between some files."""
        call: Callable[..., int] | None = getattr(os, "copy_file_range", None)
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return call(source, target, nbytes, offset_src=offset)

    def send_range(self, source: int, offset: int, target: int, nbytes: int) -> int:
        """The same, always by copying. Not every system sends to a file."""
        try:
            return os.sendfile(target, source, offset, nbytes)
        except OSError as error:
            if error.errno != errno.ENOTSOCK:
                raise
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, nbytes: int) -> None:
        os.ftruncate(descriptor, nbytes)

    def reserve(self, descriptor: int, nbytes: int) -> None:
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def rename_new(self, source: str, target: str) -> None:
        """Rename; FileExistsError when `target` exists."""
        try:
            _renameat2(source, target, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            os.rename(source, target)

    def exchange(self, first: str, second: str) -> None:
        """Swap two names in one step; OSError (ENOSYS, EINVAL, EOPNOTSUPP) where the system cannot."""
        _renameat2(first, second, _RENAME_EXCHANGE)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path)

    def lstat(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def fstat(self, descriptor: int) -> os.stat_result:
        return os.fstat(descriptor)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def lock(self, descriptor: int, wait: bool) -> None:
        """Take the exclusive lock of an open file; without `wait`, BlockingIOError when another holds it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


def _renameat2(source: str, target: str, flags: int) -> None:
    """renameat2(2), for which Python has no call; ENOSYS where the C library has none."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), source)
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)
