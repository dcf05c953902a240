"""open_checkpoint: a file, a folder or an index file -> an open Reader, by content."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ckpt_surgeon import disk
from ckpt_surgeon.disk import TEMPORARY_SUFFIX, InputFile
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.formats.registry import open_file, sniff
from ckpt_surgeon.formats.sniffing import require_file
from ckpt_surgeon.garbage import uncollected

if TYPE_CHECKING:
    from ckpt_surgeon.formats.protocol import Reader

__all__ = ["open_checkpoint"]

_INDEX_SUFFIX = ".index.json"
_DISTRIBUTED_SUFFIX, _DISTRIBUTED_METADATA = ".distcp", ".metadata"
# The names which the field's tools look for first, in this order.
_PREFERRED = ("model.safetensors.index.json", "pytorch_model.bin.index.json", "model.safetensors", "pytorch_model.bin")
# A folder with more files is no checkpoint's, and each would have to be opened.
_MAX_FILES = 10_000
_LISTED = 8
# A folder which is swapped while its files are opened is opened once more; writers do not swap as fast as this.
_ATTEMPTS = 10


def open_checkpoint(path: str, table: str | None = None, *, unfinished: bool = False) -> Reader:
    """Open a checkpoint file, an index file, or a folder which holds one checkpoint.

    table: the dotted path of a table in the envelope. unfinished: also open a file which is not published yet, or whose
    in-place edit is not done yet.
    Raises DiskError when there is none, CorruptError (naming what it is) when it is none, LockedError for a file beside which
    the journal of an edit stands, and the readers' own errors.
    """
    if not unfinished and TEMPORARY_SUFFIX in os.path.abspath(path):
        _refuse_unfinished(path)
    for _ in range(_ATTEMPTS):
        found = _status(path)
        try:
            with uncollected():
                return _open(path, found.st_mode, table, unfinished)
        except (CorruptError, DiskError):
            if _is_same(found, _status(path)):
                raise
    raise DiskError("it is replaced again and again while it is opened", where=path, hint="try again once nothing writes it")


def _open(path: str, mode: int, table: str | None, unfinished: bool) -> Reader:
    if stat.S_ISDIR(mode):
        path = _checkpoint_in(path)
        mode = _status(path).st_mode
    elif path.endswith(_DISTRIBUTED_SUFFIX):
        raise CorruptError("this is a part of a distributed checkpoint", where=path, hint="give its folder")
    require_file(mode, path)
    return open_file(path, table, unfinished=unfinished)


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether no other file or folder has come in the place of the one which was there; numbers are used again, times are not."""
    return disk.is_same_file(before, after) and before.st_ctime_ns == after.st_ctime_ns


def _refuse_unfinished(path: str) -> None:
    if any(part.endswith(TEMPORARY_SUFFIX) for part in os.path.abspath(path).split(os.sep)):
        raise CorruptError("this is the unfinished output of a run which was cut short", where=path, hint="run it again; it may be deleted")


def _status(path: str) -> os.stat_result:
    try:
        return disk.system.stat(path)
    except FileNotFoundError as error:
        raise DiskError("no such file or folder", where=path, hint=_neighbor(path)) from error
    except OSError as error:
        raise disk.disk_error(error, path) from error
    except ValueError as error:  # a NUL in the path
        raise DiskError(str(error), where=repr(path)) from error


def _neighbor(path: str) -> str:
    """A hint which names the file most like a missing one, or an empty string."""
    import difflib

    folder, name = os.path.split(path)
    try:
        near = difflib.get_close_matches(name, disk.system.listdir(folder or ".")[:_MAX_FILES], 1)
    except OSError:
        return f"there is no folder {folder}"
    return f"did you mean {os.path.join(folder, near[0])}?" if near else ""


def _checkpoint_in(folder: str) -> str:
    """The path of the one checkpoint in a folder: its index, the file of a well-known name, or the only one there is."""
    try:
        names = [name for name in disk.system.listdir(folder) if not name.endswith(TEMPORARY_SUFFIX)]
    except OSError as error:
        raise disk.disk_error(error, folder) from error
    if any(name.endswith(_DISTRIBUTED_SUFFIX) for name in names):
        return _metadata_in(folder, names)
    preferred = [name for name in _PREFERRED if name in names]
    found = preferred[:1] or [name for name in names if name.endswith(_INDEX_SUFFIX)] or _checkpoints(folder, names)
    if not found:
        raise CorruptError("no file in this folder is a checkpoint", where=folder)
    if len(found) > 1:
        listed = ", ".join(found[:_LISTED]) + (" ..." if len(found) > _LISTED else "")
        raise CorruptError(f"the folder holds {len(found)} checkpoints and no index: {listed}", where=folder, hint="give one of them")
    return os.path.join(folder, found[0])


def _metadata_in(folder: str, names: list[str]) -> str:
    """The metadata of a distributed checkpoint."""
    if _DISTRIBUTED_METADATA not in names:
        hint = "it was not saved to its end, or copied without its hidden file"
        raise CorruptError("the folder of a distributed checkpoint without its .metadata", where=folder, hint=hint)
    return os.path.join(folder, _DISTRIBUTED_METADATA)


def _checkpoints(folder: str, names: list[str]) -> list[str]:
    """The files which are checkpoints by their content; JSON (`config.json`) is none."""
    if len(names) > _MAX_FILES:
        raise CorruptError(f"the folder holds {len(names)} files and no index", where=folder, hint="give the checkpoint file itself")
    return [name for name in names if _is_checkpoint(os.path.join(folder, name))]


def _is_checkpoint(path: str) -> bool:
    try:
        require_file(_status(path).st_mode, path)
        with InputFile(path) as file:
            return sniff(file) != "sharded"
    except (CorruptError, DiskError):
        return False
