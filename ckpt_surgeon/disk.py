"""The few system calls by which anything here reads by range; `system`, by which all of them go, and where tests inject faults."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from ckpt_surgeon.checksums import crc32
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.posix import UNSUPPORTED, PosixSystem, System

__all__ = [
    "FileRange",
    "InputFile",
    "PAGE_BYTES",
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

# What systems move, and file systems share, as a whole.
PAGE_BYTES = 4096

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
                    raise self._cut_short(offset, nbytes)
                parts.append(part)
                offset += len(part)
                nbytes -= len(part)
            if parts:
                self._require_unchanged()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def move(self, way: str, part: FileRange, target: int) -> int | None:
        """Move bytes from the start of `part` to the end of another open file, as many as the system likes; None where it cannot.

        way: `copy_range` or `send_range`, calls of `System`. Raises OSError for what the system says, DiskError as `read` does.
        """
        try:
            moved: int = getattr(system, way)(self.descriptor, part.offset, target, part.nbytes)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return None
            raise
        if not moved:
            raise self._cut_short(part.offset, part.nbytes)
        self._require_unchanged()
        return moved

    def _cut_short(self, offset: int, nbytes: int) -> DiskError:
        return DiskError(f"the file ends at byte {offset}, {nbytes} bytes early: it changed while it was read", where=self.path)

    def _require_unchanged(self) -> None:
        if not self.is_unchanged():
            raise DiskError("it changed while it was read", where=self.path, hint="run it again once nothing writes to it")

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
    """A run of bytes of an open file: plain, contiguous, little-endian elements. crc: their CRC-32, where the file states one."""

    file: InputFile
    offset: int
    nbytes: int
    crc: int | None = None

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes from `offset` bytes into the range."""
        part = self.part(offset, nbytes)
        return self.file.read(part.offset, nbytes)

    def part(self, offset: int, nbytes: int) -> FileRange:
        """The sub-range of `nbytes` bytes which starts `offset` bytes into this one."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"part {offset}+{nbytes} leaves a range of {self.nbytes} bytes")
        if nbytes == self.nbytes:
            return self
        return FileRange(self.file, self.offset + offset, nbytes)


def pieces(source: FileRange, size: int = _COPY_BYTES) -> Iterator[bytes]:
    """The bytes of a range in pieces of at most `size` bytes. CorruptError at its end, where its checksum is another than stated."""
    end, crc = source.offset + source.nbytes, 0
    for offset in range(source.offset, end, size):
        piece = source.file.read(offset, min(size, end - offset))
        crc = crc if source.crc is None else crc32(piece, crc)
        yield piece
    if source.crc not in (None, crc):
        raise CorruptError("its bytes are damaged: their checksum differs", where=source.file.path)


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
