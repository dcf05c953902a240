"""The few system calls by which anything here reads by range or writes; the one place where tests inject faults."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

from ckpt_surgeon.errors import DiskError

__all__ = ["FileRange", "InputFile", "OutputFile", "System", "disk_error", "pieces", "system"]

# Larger buffers fall out of the cache between the read and the write and cost several times the CPU.
_COPY_BYTES = 256 * 1024


class System(Protocol):
    """The system calls in use, so that tests can put a faulty machine in their place."""

    def open(self, path: str, flags: int, mode: int = 0o666) -> int: ...
    def close(self, descriptor: int) -> None: ...
    def pread(self, descriptor: int, nbytes: int, offset: int) -> bytes: ...
    def write(self, descriptor: int, data: memoryview) -> int: ...
    def fsync(self, descriptor: int) -> None: ...
    def truncate(self, descriptor: int, nbytes: int) -> None: ...
    def reserve(self, descriptor: int, nbytes: int) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def mkdir(self, path: str) -> None: ...
    def rmdir(self, path: str) -> None: ...


class _PosixSystem:
    """The real machine."""

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def pread(self, descriptor: int, nbytes: int, offset: int) -> bytes:
        return os.pread(descriptor, nbytes, offset)

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, nbytes: int) -> None:
        os.ftruncate(descriptor, nbytes)

    def reserve(self, descriptor: int, nbytes: int) -> None:
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def mkdir(self, path: str) -> None:
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)


system: System = _PosixSystem()


def disk_error(error: OSError, path: str) -> DiskError:
    """The DiskError which says what the system said of `path`."""
    return DiskError(f"{error.strerror or error}", where=path)


class InputFile:
    """A regular file opened for reading by offset; its size is taken once, at the start, in bytes."""

    def __init__(self, path: str) -> None:
        """Raises DiskError when `path` cannot be opened or is no regular file (a FIFO never blocks)."""
        self.path = path
        try:
            self.descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise disk_error(error, path) from error
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            system.close(self.descriptor)
            raise DiskError("not a regular file", where=path)
        self.nbytes = status.st_size
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        self._is_open = True

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes at `offset`; a file which is shorter now than it was is a DiskError."""
        parts: list[bytes] = []
        while nbytes > 0:
            try:
                part = system.pread(self.descriptor, nbytes, offset)
            except OSError as error:
                raise disk_error(error, self.path) from error
            if not part:
                raise DiskError(f"the file ends at byte {offset}, {nbytes} bytes early: it changed while it was read", where=self.path)
            parts.append(part)
            offset += len(part)
            nbytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def is_unchanged(self) -> bool:
        """Whether size and modification time are still those of the opening."""
        status = os.fstat(self.descriptor)
        return self.identity == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            system.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class FileRange:
    """A run of bytes of an open file: plain, contiguous, little-endian elements."""

    file: InputFile
    offset: int
    nbytes: int

    def part(self, offset: int, nbytes: int) -> FileRange:
        """The sub-range of `nbytes` bytes which starts `offset` bytes into this one."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"part {offset}+{nbytes} leaves a range of {self.nbytes} bytes")
        return FileRange(self.file, self.offset + offset, nbytes)


class OutputFile:
    """A new file (`O_EXCL`), written from start to end."""

    def __init__(self, path: str, mode: int = 0o666) -> None:
        """Raises DiskError when `path` exists or cannot be made."""
        self.path = path
        self.position = 0
        try:
            self.descriptor = system.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise disk_error(error, path) from error
        self._is_open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`."""
        rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
        try:
            while rest:
                written = system.write(self.descriptor, rest)
                self.position += written
                rest = rest[written:]
        except OSError as error:
            raise disk_error(error, self.path) from error

    def copy(self, source: FileRange) -> None:
        """Append the bytes of a range, a piece at a time."""
        for piece in pieces(source):
            self.write(piece)

    def reserve(self, nbytes: int) -> None:
        """Reserve space, so that a full disk is known before the first byte; where the system can't, nothing happens."""
        if nbytes <= 0:
            return
        try:
            system.reserve(self.descriptor, nbytes)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def sync(self) -> None:
        """Cut a reservation back to what was written and bring it to the disk; never retried after a fault."""
        try:
            system.truncate(self.descriptor, self.position)
            system.fsync(self.descriptor)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
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
