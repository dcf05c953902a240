"""publish_file, publish_folder: what stands at a destination is the old one or the complete new one, never a part.

An output grows in a folder of its own beside the destination, `.NAME.ckpt-surgeon-tmp`, which is locked, is closed to other
users, and is removed at the end, or by the next run once its lock is free. The finished output is then given its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ckpt_surgeon import disk
from ckpt_surgeon.disk import TEMPORARY_SUFFIX, FileLock
from ckpt_surgeon.errors import DiskError, LockedError

__all__ = ["publish_file", "publish_folder"]

# Names within it, which no destination may bear.
_LOCK, _REPLACED = f"lock{TEMPORARY_SUFFIX}", f"replaced{TEMPORARY_SUFFIX}"
# File systems allow 255 bytes; the rest is for the dot and the suffix.
_MAX_NAME_BYTES = 200
# What a folder of shards may hold. A folder which holds more is someone's home, not only an output.
_SHARD = re.compile(r"(.+\.index\.json|.+-[0-9]+-of-[0-9]+\.(safetensors|bin|pt)|model\.safetensors)", re.DOTALL)
_LISTED = 5


@contextmanager
def publish_file(destination: str, *, force: bool = False, sources: Sequence[str] = ()) -> Iterator[str]:
    """The path of a new file, which takes the name `destination` when the block ends, and is gone when it raises.

    The block makes the file, syncs and closes it. force: replace an existing file. sources: the files and folders which
    are read meanwhile; none of them is ever replaced.
    Raises DiskError before the block when the destination is refused, LockedError when another run writes it.
    """
    path = _checked(destination, sources, force=force, is_folder=False)
    with _workplace(path) as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        yield temporary
        with _reported(path):
            _adopt_mode(temporary, path)
            if force:
                disk.system.rename(temporary, path)
            else:
                disk.system.rename_new(temporary, path)
        disk.sync_folder(os.path.dirname(path))


@contextmanager
def publish_folder(destination: str, *, force: bool = False, sources: Sequence[str] = ()) -> Iterator[str]:
    """The same for a folder, which the block makes: it is swapped in whole, and the replaced one is removed.

    A folder which holds anything but shards and their index is never replaced.
    """
    path = _checked(destination, sources, force=force, is_folder=True)
    with _workplace(path) as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        yield temporary
        with _reported(path):
            if force and os.path.lexists(path):
                _adopt_mode(temporary, path)
                _swap(temporary, path, os.path.join(folder, _REPLACED))
            else:
                disk.system.rename_new(temporary, path)
        disk.sync_folder(os.path.dirname(path))


def _checked(destination: str, sources: Sequence[str], *, force: bool, is_folder: bool) -> str:
    """The absolute path of a destination which may be written; DiskError for one which may not."""
    path = os.path.abspath(destination)
    folder, name = os.path.split(path)
    if not name or name.endswith(TEMPORARY_SUFFIX):
        raise DiskError("an output cannot have this name", where=destination)
    with _reported(destination):
        if not _is_folder(folder):
            raise DiskError("its folder does not exist", where=destination, hint=f"make it first: mkdir -p {folder}")
        if not os.path.lexists(path):
            _refuse_source_folder(folder, destination, sources)
            return path
        _refuse_sources(path, destination, sources)
        status = disk.system.lstat(path) if os.path.islink(path) else disk.system.stat(path)
        _refuse_kind(path, destination, status.st_mode, is_folder)
        if not force:
            raise DiskError("it exists already", where=destination, hint="--force (force=True) replaces it")
        if is_folder and not os.path.islink(path):
            _refuse_other_contents(path, destination)
    return path


def _refuse_source_folder(folder: str, destination: str, sources: Sequence[str]) -> None:
    """A file more in a source folder might be taken for the checkpoint, or for one of several."""
    if any(_is_folder(source) and _identity(source) == _identity(folder) for source in sources):
        raise DiskError("it lies in the source folder, which is never changed", where=destination, hint="write to another folder")


def _refuse_sources(path: str, destination: str, sources: Sequence[str]) -> None:
    """DiskError when the destination, or a file in it, is a file of the sources, under whatever name."""
    replaced = {_identity(each): each for each in _files(path)}
    for source in sources:
        for each in _files(source):
            if os.path.exists(each) and _identity(each) in replaced:
                raise DiskError(f"it is the source {each} itself, or holds it", where=destination, hint="write to another path")


def _files(path: str) -> list[str]:
    """The path and, of a folder or an index file, the files in its folder; nothing when it isn't there (a URL)."""
    if not os.path.exists(path):
        return []
    folder = path if _is_folder(path) else os.path.dirname(path) or "."
    if not _is_folder(path) and not path.endswith(".index.json"):
        return [path]
    return [path, *(os.path.join(folder, name) for name in disk.system.listdir(folder) if os.path.exists(os.path.join(folder, name)))]


def _identity(path: str) -> tuple[int, int]:
    status = disk.system.stat(path)
    return status.st_dev, status.st_ino


def _refuse_kind(path: str, destination: str, mode: int, is_folder: bool) -> None:
    if stat.S_ISLNK(mode):
        hint = f"give the path itself: {os.path.realpath(path)}"
        raise DiskError("it is a symbolic link, which is neither followed nor replaced", where=destination, hint=hint)
    if is_folder and not stat.S_ISDIR(mode):
        raise DiskError("a folder of shards cannot replace a file", where=destination, hint="write to another path")
    if not is_folder and stat.S_ISDIR(mode):
        raise DiskError("a file cannot replace a folder", where=destination, hint="name a file in it")
    if not is_folder and not stat.S_ISREG(mode):
        raise DiskError("it is a device, a pipe or a socket", where=destination, hint="write to another path")


def _refuse_other_contents(path: str, destination: str) -> None:
    others = [name for name in disk.system.listdir(path) if not _SHARD.fullmatch(name) or _is_folder(os.path.join(path, name))]
    if others:
        listed = ", ".join(others[:_LISTED]) + (" ..." if len(others) > _LISTED else "")
        raise DiskError(f"the folder is replaced whole, and holds more than shards: {listed}", where=destination, hint="name a new folder")


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(disk.system.stat(path).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _workplace(path: str) -> Iterator[str]:
    """The locked, empty folder in which the output for `path` grows; it goes at the end, whatever happens."""
    folder = _temporary_path(path)
    with _reported(path):
        lock = _claim(folder, path)
    try:
        with _reported(path):
            _restore(folder, path)
            _empty(folder)
        yield folder
    finally:
        with suppress(OSError):  # what stays is given back its name, or removed, by the next run
            _restore(folder, path)
            _empty(folder)
        lock.release()
        with suppress(OSError):
            disk.system.rmdir(folder)


def _temporary_path(path: str) -> str:
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
            return FileLock(os.path.join(folder, _LOCK))
        except LockedError as error:
            raise LockedError("another run is writing it", where=path, hint="wait until it is done, or write to another path") from error
        except DiskError as error:
            with suppress(OSError):
                disk.system.rmdir(folder)
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def _restore(folder: str, path: str) -> None:
    """Give back the name of a folder which a run, cut short between the two steps of its swap, had put aside."""
    replaced = os.path.join(folder, _REPLACED)
    if os.path.lexists(replaced) and not os.path.lexists(path):
        disk.system.rename(replaced, path)


def _swap(temporary: str, path: str, replaced: str) -> None:
    """Exchange two folders in one step, or, where the system cannot, in two."""
    try:
        disk.system.exchange(temporary, path)
        return
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise
    disk.system.rename(path, replaced)
    try:
        disk.system.rename(temporary, path)
    except BaseException:
        disk.system.rename(replaced, path)
        raise


def _adopt_mode(temporary: str, path: str) -> None:
    """Give the new one the permissions of the one which it replaces; without one, the umask's stay."""
    with suppress(FileNotFoundError):
        disk.system.chmod(temporary, stat.S_IMODE(disk.system.stat(path).st_mode))


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


@contextmanager
def _reported(path: str) -> Iterator[None]:
    """Turn what the system says into a DiskError about `path`."""
    try:
        yield
    except FileExistsError as error:
        raise DiskError("it exists already", where=path, hint="--force (force=True) replaces it") from error
    except OSError as error:
        raise disk.disk_error(error, path) from error
