"""checked: the path of a destination which may be written, or the reason why not, before any work."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from ckpt_surgeon import disk
from ckpt_surgeon.disk import TEMPORARY_SUFFIX
from ckpt_surgeon.errors import DiskError, LockedError
from ckpt_surgeon.formats.pending import journal_path, refuse_pending

__all__ = ["EXISTS", "FORCE", "checked"]

EXISTS, FORCE = "it exists already", "--force (force=True) replaces it"
# What a folder of shards may hold. A folder which holds more is someone's home, not only an output.
_SHARD = re.compile(r"(.+\.index\.json|.+-[0-9]+-of-[0-9]+\.(safetensors|bin|pt)|model\.safetensors)", re.DOTALL)
_LISTED = 5


def checked(destination: str, sources: Sequence[str], *, force: bool, is_folder: bool) -> str:
    """The absolute path of a destination which may be written; DiskError (LockedError beside a journal) for one which may not."""
    disk.require_name(destination)
    with disk.reported(destination):
        path = _absolute(destination)
        folder, name = os.path.split(path)
        if not name or name.endswith(TEMPORARY_SUFFIX):
            raise DiskError("an output cannot have this name", where=destination)
        if not _is_folder(folder):
            raise DiskError("its folder does not exist", where=destination, hint=f"make it first: mkdir -p {folder}")
        found = disk.status(path, follows=False)
        if found is None:
            _refuse_journal(path, destination)
            _refuse_source_folder(folder, destination, sources)
            return path
        refuse_pending(path)
        _refuse_sources(path, destination, sources)
        _refuse_kind(path, destination, found.st_mode, is_folder)
        if not force:
            raise DiskError(EXISTS, where=destination, hint=FORCE)
        if is_folder:
            _refuse_other_contents(path, destination)
    return path


def _absolute(destination: str) -> str:
    """The path with the links in its folder followed, as the system does before it takes a `..`; a link at its end stays."""
    folder, name = os.path.split(destination.rstrip(os.sep) or os.sep)
    if name in ("", os.curdir, os.pardir):
        return os.path.realpath(destination)
    return os.path.join(os.path.realpath(folder), name)


def _refuse_journal(path: str, destination: str) -> None:
    """A file of this name would be taken for one whose edit in place was cut short, and not be read."""
    journal = journal_path(path)
    if disk.status(journal, follows=False) is not None:
        hint = f"if that file is not to come back, remove the journal: {journal}"
        raise LockedError(
            "the journal of an in-place edit of a file of this name, which is gone, stands there", where=destination, hint=hint
        )


def _refuse_source_folder(folder: str, destination: str, sources: Sequence[str]) -> None:
    """A file more in a source folder might be taken for the checkpoint, or for one of several."""
    if any(_is_folder(source) and _identity(source) == _identity(folder) for source in sources):
        raise DiskError("it lies in the source folder, which is never changed", where=destination, hint="write to another folder")


def _refuse_sources(path: str, destination: str, sources: Sequence[str]) -> None:
    """DiskError when the destination, or a file in it, is a file of the sources, under whatever name."""
    replaced = {_identity(each) for each in _files(path)}
    for source in sources:
        for each in _files(source):
            if _identity(each) in replaced:
                raise DiskError(f"it is the source {each} itself, or holds it", where=destination, hint="write to another path")


def _files(path: str) -> list[str]:
    """The path and, of a folder or an index file, the files in its folder; nothing when it isn't there (a URL)."""
    if _identity(path) is None:
        return []
    is_folder = _is_folder(path)
    if not is_folder and not path.endswith(".index.json"):
        return [path]
    folder = path if is_folder else os.path.dirname(path) or "."
    within = [os.path.join(folder, name) for name in disk.system.listdir(folder)]
    return [path, *(each for each in within if _identity(each) is not None)]


def _identity(path: str) -> tuple[int, int] | None:
    """Which file it is, whatever its name; None where there is none."""
    found = disk.status(path)
    return None if found is None else (found.st_dev, found.st_ino)


def _refuse_kind(path: str, destination: str, mode: int, is_folder: bool) -> None:
    if stat.S_ISLNK(mode):
        hint = f"give the path itself: {os.path.realpath(path)}"
        raise DiskError("it is a symbolic link, which is neither followed nor replaced", where=destination, hint=hint)
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DiskError("it is a device, a pipe or a socket", where=destination, hint="write to another path")
    if is_folder and stat.S_ISREG(mode):
        raise DiskError("a folder of shards cannot replace a file", where=destination, hint="write to another path")
    if not is_folder and stat.S_ISDIR(mode):
        raise DiskError("a file cannot replace a folder", where=destination, hint="name a file in it")


def _refuse_other_contents(path: str, destination: str) -> None:
    others = [name for name in disk.system.listdir(path) if not _SHARD.fullmatch(name) or _is_folder(os.path.join(path, name))]
    if others:
        listed = ", ".join(others[:_LISTED]) + (" ..." if len(others) > _LISTED else "")
        raise DiskError(f"the folder is replaced whole, and holds more than shards: {listed}", where=destination, hint="name a new folder")


def _is_folder(path: str) -> bool:
    found = disk.status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)
