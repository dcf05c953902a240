"""MemorySystem: files which lie in memory, for `ckpt_surgeon.disk`. Whoever reads writes nothing: every other call is a finding."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NoReturn

from ckpt_surgeon.posix import PosixSystem

__all__ = ["FOLDER", "MemorySystem", "WroteError"]

# A folder which is not there, so that whatever goes around `disk` finds nothing.
FOLDER = "/no-such-folder-of-the-fuzzer"
_FOLDER_STATUS = os.stat("/")


class WroteError(BaseException):
    """A reader made a system call which changes something."""


class MemorySystem(PosixSystem):
    """Serves files under FOLDER from memory. `opened`: descriptors which are open now."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self.opened: set[int] = set()

    def serve(self, files: Mapping[str, bytes]) -> None:
        """Let these files (name -> bytes) take the place of those before; each has one identity as long as it is there."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {name: _file_of(data) for name, data in files.items()}

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """A new descriptor of the file."""
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            raise WroteError(f"open {path!r} for writing")
        descriptor = os.dup(self._file(path))
        self.opened.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close it; what was never opened here is an error."""
        self.opened.remove(descriptor)
        os.close(descriptor)

    def stat(self, path: str) -> os.stat_result:
        """That of some folder for the folder, and the file's own for a file."""
        return _FOLDER_STATUS if path.rstrip("/") == FOLDER else os.fstat(self._file(path))

    lstat = stat

    def listdir(self, path: str) -> list[str]:
        """The names of all files."""
        return sorted(self._files)

    def close_all(self) -> int:
        """Close what was left open; how many that were."""
        left = len(self.opened)
        for descriptor in list(self.opened):
            self.close(descriptor)
        return left

    def _file(self, path: str) -> int:
        folder, _, name = path.rpartition("/")
        if folder != FOLDER or name not in self._files:
            raise FileNotFoundError(2, "no such file", path)
        return self._files[name]

    def _refused(self, *arguments: Any, **_options: Any) -> NoReturn:
        raise WroteError(f"a system call which changes something: {arguments}")

    write = fsync = truncate = reserve = rename = rename_new = exchange = unlink = mkdir = rmdir = chmod = lock = _refused


def _file_of(data: bytes) -> int:
    """The descriptor of a file without a name."""
    descriptor = os.memfd_create("fuzz")
    os.pwrite(descriptor, data, 0)
    return descriptor
