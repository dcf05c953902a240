"""OutputFile: a file written from start to end. Runs of other files are moved by the system, small pieces are gathered."""

from __future__ import annotations

import os
from typing import Final, Self

from ckpt_surgeon import disk
from ckpt_surgeon.disk import FileRange, pieces, reported

__all__ = ["OutputFile"]

# What is smaller costs more as a call of its own than as a copy in memory.
_SMALL_BYTES: Final = 64 * 1024
# A larger buffer falls out of the processor's cache.
_BUFFER_BYTES: Final = 256 * 1024
# Moved at once: a signal is answered, and progress seen, after at most so many bytes.
_MOVE_BYTES: Final = 64 * 1024 * 1024
# The ways in which a system moves bytes from file to file, the best first: calls of `System`.
_WAYS: Final = ("copy_range", "send_range")


class OutputFile:
    """A new file (`O_EXCL`), or with `resume` also an existing one, written from its end on; `position` is in bytes.

    What was written is in the file after `sync` or `close`, whatever came before.
    """

    def __init__(self, path: str, mode: int = 0o666, *, resume: bool = False) -> None:
        """Raises DiskError when `path` cannot be made, or exists and is not to be resumed."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND | os.O_NOFOLLOW if resume else os.O_EXCL)
        self.position = 0
        self._buffer = bytearray()
        self._run: FileRange | None = None  # due after the buffer
        self._ways = list(_WAYS)
        with reported(path):
            self.descriptor = disk.system.open(path, flags, mode)
            self._is_open = True
            try:
                self.position = disk.system.fstat(self.descriptor).st_size if resume else 0
            except BaseException:
                self.abandon()
                raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`."""
        self._settle()
        self._append(memoryview(data).cast("B") if len(data) else memoryview(b""))
        self.position += memoryview(data).nbytes

    def copy(self, source: FileRange) -> None:
        """Append the bytes of a range; ranges which touch each other move together. CorruptError where its checksum differs."""
        if source.crc is not None:
            self._compared(source)
            return
        run = self._run
        if run is not None and run.file is source.file and run.offset + run.nbytes == source.offset and run.nbytes < _MOVE_BYTES:
            self._run = FileRange(run.file, run.offset, run.nbytes + source.nbytes)
        else:
            self._settle()
            self._run = source
        self.position += source.nbytes

    def reserve(self, nbytes: int) -> None:
        """Reserve space, so that a full disk is known before the first byte; where the system can't, nothing happens."""
        if nbytes <= 0:
            return
        with reported(self.path):
            disk.system.reserve(self.descriptor, nbytes)

    def restart(self) -> None:
        """Throw away what was written."""
        self._buffer.clear()
        self._run = None
        with reported(self.path):
            disk.system.truncate(self.descriptor, 0)
            os.lseek(self.descriptor, 0, os.SEEK_SET)  # a file which is not resumed is written where its offset stands
        self.position = 0

    def sync(self) -> None:
        """Cut a reservation back to what was written and bring it to the disk; never retried after a fault."""
        self._flush()
        with reported(self.path):
            disk.system.truncate(self.descriptor, self.position)
            disk.system.fsync(self.descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing. A fault which the system tells only now is a DiskError."""
        if not self._is_open:
            return
        try:
            self._flush()
        except BaseException:
            self.abandon()
            raise
        self._is_open = False
        with reported(self.path):
            disk.system.close(self.descriptor)

    def abandon(self) -> None:
        """Close the file, whatever of it is still due."""
        self._buffer.clear()
        self._run = None
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _compared(self, source: FileRange) -> None:
        for piece in pieces(source):
            self.write(piece)

    def _flush(self) -> None:
        self._settle()
        self._drain()

    def _settle(self) -> None:
        """Bring the run which is due into the buffer or the file."""
        run, self._run = self._run, None
        if run is None:
            return
        if run.nbytes <= _SMALL_BYTES:
            self._append(memoryview(run.read(0, run.nbytes)))
        else:
            self._drain()
            self._move(run)

    def _append(self, data: memoryview) -> None:
        if len(self._buffer) + len(data) > _BUFFER_BYTES:
            self._drain()
        if len(data) > _SMALL_BYTES:
            self._drain()
            self._put(data)
        else:
            self._buffer += data

    def _drain(self) -> None:
        """Bring the buffer into the file."""
        buffer, self._buffer = self._buffer, bytearray()
        self._put(memoryview(buffer))

    def _put(self, rest: memoryview) -> None:
        with reported(self.path):
            while rest:
                rest = rest[disk.system.write(self.descriptor, rest) :]

    def _move(self, run: FileRange) -> None:
        """Bring a run into the file, by the best way which the system has between the two files."""
        while run.nbytes and self._ways:
            with reported(self.path):
                moved = run.file.move(self._ways[0], run.part(0, min(run.nbytes, _MOVE_BYTES)), self.descriptor)
            if moved is None:
                del self._ways[0]
            else:
                run = run.part(moved, run.nbytes - moved)
        for piece in pieces(run):
            self._put(memoryview(piece))
