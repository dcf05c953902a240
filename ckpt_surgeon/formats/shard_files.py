"""ShardFiles: the files beside an index, by the names which it gives them; any number of them, of which few are open at once."""

from __future__ import annotations

import os
from typing import Any, Final

from ckpt_surgeon import disk
from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.formats.sniffing import require_file

__all__ = ["ShardFiles", "is_plain_name"]

# The lowest limit of open files which a system starts with is 256 (macOS), and the process has other files to open.
_MAX_OPEN: Final = 64


def is_plain_name(name: Any) -> bool:
    """Whether this is the name of a file in the folder in which one looks, and nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


class ShardFiles:
    """The files beside `index`, the path of a file which names them."""

    def __init__(self, index: str, max_open: int = _MAX_OPEN) -> None:
        self.folder = os.path.dirname(index)
        self._homes = _homes(index)
        self._max_open = max_open
        self._open: dict[_ShardFile, None] = {}  # the longest unused first

    def open(self, name: str) -> InputFile:
        """The file of that plain name.

        It may be read until it is closed, though its descriptor may be given back and be opened again meanwhile. Raises
        CorruptError when it is a link which leads out of the folder, no file, or not there; DiskError.
        """
        return _ShardFile(self._path(name), self)

    def _path(self, name: str) -> str:
        path = os.path.join(self.folder, name)
        if os.path.dirname(os.path.realpath(path)) not in self._homes:
            raise CorruptError("the shard is a link which leads out of its folder", where=path)
        with disk.reported(path):
            found = disk.status(path)
        if found is None:
            hint = "download or copy the missing shard into the folder"
            raise CorruptError(f"the shard {name!r}, which the index names, is not there", where=self.folder, hint=hint)
        require_file(found.st_mode, path)
        return path

    def used(self, file: _ShardFile) -> None:
        """Take note that a file is open and in use; the one which was not for longest makes room for it."""
        self.unused(file)
        while len(self._open) >= self._max_open:
            next(iter(self._open)).rest()
        self._open[file] = None

    def unused(self, file: _ShardFile) -> None:
        """Take note that a file is open no more."""
        self._open.pop(file, None)


def _homes(index: str) -> set[str]:
    """The folders in which shards may lie: that of the index, and that of the file behind it when it is a link.

    So one is, as every file beside it, in the cache of the Hugging Face hub, where `snapshots/REVISION/.../NAME` leads to
    `blobs/HASH`; there blobs are welcome also when the index itself is none.
    """
    homes = {os.path.dirname(os.path.realpath(index)), os.path.realpath(os.path.dirname(index))}
    repository, is_snapshot, _ = os.path.realpath(os.path.dirname(index)).rpartition("/snapshots/")
    return homes | ({os.path.realpath(os.path.join(repository, "blobs"))} if is_snapshot else set())


class _ShardFile(InputFile):
    """An InputFile which opens itself anew, as long as it is the same file, when it is read after its descriptor was given back."""

    def __init__(self, path: str, files: ShardFiles) -> None:
        self._files = files  # first of all: an opening which fails closes itself
        self._is_wanted = True
        super().__init__(path)
        self._first_version = self._version
        files.used(self)

    def read(self, offset: int, nbytes: int) -> bytes:
        self._wake()
        return super().read(offset, nbytes)

    def is_unchanged(self) -> bool:
        self._wake()
        return super().is_unchanged()

    def is_in_place(self) -> bool:
        self._wake()
        return super().is_in_place()

    def close(self) -> None:
        self._is_wanted = False
        self.rest()

    def rest(self) -> None:
        """Give the descriptor back until the file is read again."""
        self._files.unused(self)
        super().close()

    def _wake(self) -> None:
        if not self._is_wanted:
            return
        if not self._is_open:
            super().__init__(self.path)
            if self._version != self._first_version:
                self.rest()
                raise DiskError("it was replaced while it was read", where=self.path, hint="run it again once nothing writes to it")
        self._files.used(self)
