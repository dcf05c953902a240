"""The few system calls by which anything here reads by range or writes; the one place where tests inject faults."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from ckpt_surgeon.errors import DiskError, LockedError
from ckpt_surgeon.posix import PosixSystem, System

__all__ = [
    "FileLock",
    "FileRange",
    "InputFile",
    "OutputFile",
    "TEMPORARY_SUFFIX",
    "disk_error",
    "is_same_file",
    "pieces",
    "reported",
    "require_name",
    "require_space",
    "status",
    "sync_folder",
    "system",
]

# What an output is called until it is complete; no reader takes such a name for a checkpoint.
TEMPORARY_SUFFIX = ".ckpt-surgeon-tmp"

# Larger buffers fall out of the cache between the read and the write and cost several times the CPU.
_COPY_BYTES = 256 * 1024


# What all of this goes through; tests put a faulty machine in its place.
system: System = PosixSystem()


def disk_error(error: OSError, path: str) -> DiskError:
    """The DiskError which says what the system said of `path`."""
    return DiskError(f"{error.strerror or error}", where=path)


@contextmanager
def reported(path: str) -> Iterator[None]:
    """Turn what the system says inside into a DiskError about `path`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


def require_name(path: str) -> None:
    """DiskError for a path which no system can hold: with a NUL, or with half a surrogate."""
    try:
        is_sound = "\0" not in path and bool(os.fsencode(path))
    except UnicodeEncodeError:
        is_sound = False
    if not is_sound:
        raise DiskError("no file can have this name", where=path)


# What the system answers about a name which leads nowhere; any other fault says nothing of what is there.
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def status(path: str, *, follows: bool = True) -> os.stat_result | None:
    """What is at `path`, links followed or not; None where nothing is. Unlike `os.path.exists`, a fault is an OSError."""
    try:
        return system.stat(path) if follows else system.lstat(path)
    except OSError as error:
        if error.errno in _NOWHERE:
            return None
        raise


class InputFile:
    """A regular file opened for reading by offset; its size is taken once, at the start, in bytes."""

    def __init__(self, path: str) -> None:
        """Raises DiskError when `path` cannot be opened or is no regular file (a FIFO never blocks)."""
        self.path = path
        with reported(path):
            self.descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self._is_open = True
            try:
                found = system.fstat(self.descriptor)
            except BaseException:
                self.close()
                raise
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise DiskError("not a regular file", where=path)
        self.nbytes = found.st_size
        self._version = _version(found)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes at `offset`; a file which is not what it was when it was opened is a DiskError."""
        parts: list[bytes] = []
        with reported(self.path):
            while nbytes > 0:
                part = system.pread(self.descriptor, nbytes, offset)
                if not part:
                    raise DiskError(f"the file ends at byte {offset}, {nbytes} bytes early: it changed while it was read", where=self.path)
                parts.append(part)
                offset += len(part)
                nbytes -= len(part)
            if parts and not self.is_unchanged():
                raise DiskError("it changed while it was read", where=self.path, hint="run it again once nothing writes to it")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_buffer(self, offset: int, nbytes: int) -> bytearray:
        """The same bytes in a buffer of their own, which a tensor can take over; never twice in memory."""
        buffer = bytearray(nbytes)
        position = 0
        for piece in pieces(FileRange(self, offset, nbytes)):
            buffer[position : position + len(piece)] = piece
            position += len(piece)
        return buffer

    @property
    def whole(self) -> FileRange:
        """All its bytes."""
        return FileRange(self, 0, self.nbytes)

    def is_unchanged(self) -> bool:
        """Whether size and modification time are still those of the opening. Raises OSError."""
        return _version(system.fstat(self.descriptor)) == self._version

    def is_in_place(self) -> bool:
        """Whether its path still leads to it, and not to one which has replaced it. Raises DiskError."""
        with reported(self.path):
            found = status(self.path)
            return found is not None and is_same_file(found, system.fstat(self.descriptor))

    def close(self) -> None:
        """Close the file; a second call does nothing, and no fault matters: nothing was written."""
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                system.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _version(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class FileRange:
    """A run of bytes of an open file: plain, contiguous, little-endian elements."""

    file: InputFile
    offset: int
    nbytes: int

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes from `offset` bytes into the range."""
        part = self.part(offset, nbytes)
        return self.file.read(part.offset, nbytes)

    def part(self, offset: int, nbytes: int) -> FileRange:
        """The sub-range of `nbytes` bytes which starts `offset` bytes into this one."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"part {offset}+{nbytes} leaves a range of {self.nbytes} bytes")
        return FileRange(self.file, self.offset + offset, nbytes)


class OutputFile:
    """A new file (`O_EXCL`), or with `resume` also an existing one, written from its end on; `position` is in bytes."""

    def __init__(self, path: str, mode: int = 0o666, *, resume: bool = False) -> None:
        """Raises DiskError when `path` cannot be made, or exists and is not to be resumed."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND | os.O_NOFOLLOW if resume else os.O_EXCL)
        self.position = 0
        with reported(path):
            self.descriptor = system.open(path, flags, mode)
            self._is_open = True
            try:
                self.position = system.fstat(self.descriptor).st_size if resume else 0
            except BaseException:
                self.close()
                raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`."""
        rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
        with reported(self.path):
            while rest:
                written = system.write(self.descriptor, rest)
                self.position += written
                rest = rest[written:]

    def copy(self, source: FileRange) -> None:
        """Append the bytes of a range, a piece at a time."""
        for piece in pieces(source):
            self.write(piece)

    def reserve(self, nbytes: int) -> None:
        """Reserve space, so that a full disk is known before the first byte; where the system can't, nothing happens."""
        if nbytes <= 0:
            return
        with reported(self.path):
            system.reserve(self.descriptor, nbytes)

    def restart(self) -> None:
        """Throw away what was written."""
        with reported(self.path):
            system.truncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)  # a file which is not resumed is written where its offset stands
        self.position = 0

    def sync(self) -> None:
        """Cut a reservation back to what was written and bring it to the disk; never retried after a fault."""
        with reported(self.path):
            system.truncate(self.descriptor, self.position)
            system.fsync(self.descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing. A fault which the system tells only now is a DiskError."""
        if not self._is_open:
            return
        self._is_open = False
        with reported(self.path):
            system.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def pieces(source: FileRange, size: int = _COPY_BYTES) -> Iterator[bytes]:
    """The bytes of a range in pieces of at most `size` bytes."""
    end = source.offset + source.nbytes
    for offset in range(source.offset, end, size):
        yield source.file.read(offset, min(size, end - offset))


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
            raise disk_error(error, path) from error
        self._is_held = True

    def release(self) -> None:
        """Remove the lock file and give the lock back; a second call does nothing, or what a signal kept the first from.

        A lock file which stays, since the system refuses to remove it, is taken over by the next run.
        """
        if not self._is_held:
            return
        with suppress(OSError):
            if is_same_file(system.fstat(self._descriptor), system.lstat(self.path)):  # else it is the next holder's
                system.unlink(self.path)
        self._is_held = False
        with suppress(OSError):
            system.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _locked_descriptor(path: str, wait: bool) -> int:
    """The descriptor of the locked file at `path`: tried again when its last holder removed it in between."""
    while True:
        descriptor = system.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            system.lock(descriptor, wait)
            if is_same_file(system.fstat(descriptor), system.lstat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            system.close(descriptor)
            raise
        system.close(descriptor)


def is_same_file(first: os.stat_result, second: os.stat_result) -> bool:
    """Whether both are the same file on disk, whatever its names."""
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def sync_folder(path: str) -> None:
    """Bring the names in a folder to the disk."""
    with reported(path):
        descriptor = system.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            system.fsync(descriptor)
        finally:
            system.close(descriptor)


def require_space(folder: str, nbytes: int) -> None:
    """DiskError when the disk under `folder` has not `nbytes` bytes left."""
    with reported(folder):
        free = system.free_bytes(folder)
    if free < nbytes:
        raise DiskError(f"{nbytes} bytes are needed, {free} are free", where=folder, hint="free some space, or choose another disk")
