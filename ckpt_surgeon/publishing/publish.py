"""publish_file, publish_folder: a new output grows beside its destination, and takes its name once it is complete."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ckpt_surgeon import disk
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.publishing.destination import EXISTS, FORCE, checked
from ckpt_surgeon.publishing.workplace import put_aside, workplace

__all__ = ["publish_file", "publish_folder"]

# What a system or a file system answers which cannot exchange two names.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})


@contextmanager
def publish_file(destination: str, *, force: bool = False, sources: Sequence[str] = ()) -> Iterator[str]:
    """The path of a new file, which takes the name `destination` when the block ends, and is gone when it raises.

    The block makes the file, syncs and closes it. force: replace an existing file. sources: the files and folders which
    are read meanwhile; none of them is ever replaced.
    Raises DiskError before the block when the destination is refused, LockedError when another run writes it.
    """
    path = checked(destination, sources, force=force, is_folder=False)
    with workplace(path) as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        yield temporary
        checked(path, sources, force=force, is_folder=False)  # once more: what came there meanwhile is not ours to replace
        with _named(path):
            if force:
                _adopt_mode(temporary, path)
                disk.system.rename(temporary, path)
            else:
                disk.system.rename_new(temporary, path)
        disk.sync_folder(os.path.dirname(path))


@contextmanager
def publish_folder(destination: str, *, force: bool = False, sources: Sequence[str] = ()) -> Iterator[str]:
    """The same for a folder, which the block makes: it is swapped in whole, and the replaced one is removed.

    A folder which holds anything but shards and their index is never replaced.
    """
    path = checked(destination, sources, force=force, is_folder=True)
    with workplace(path) as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        yield temporary
        checked(path, sources, force=force, is_folder=True)
        with _named(path):
            if force and disk.status(path, follows=False) is not None:
                _adopt_modes(temporary, path)
                _swap(temporary, path, folder)
            else:
                disk.system.rename_new(temporary, path)
        disk.sync_folder(os.path.dirname(path))


@contextmanager
def _named(path: str) -> Iterator[None]:
    """What the system says of the last step, as a DiskError about `path`."""
    with disk.reported(path):
        try:
            yield
        except FileExistsError as error:
            raise DiskError(EXISTS, where=path, hint=FORCE) from error


def _swap(temporary: str, path: str, folder: str) -> None:
    """Exchange two folders in one step, or, where the system cannot, in two.

    Whoever is stopped between these two leaves it to the end of the workplace, or to the next run, to give the old one its name back.
    """
    try:
        disk.system.exchange(temporary, path)
        return
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    put_aside(path, folder)
    disk.system.rename(temporary, path)


def _adopt_mode(temporary: str, path: str) -> None:
    """Give the new one the permissions of the one which it replaces; without one, the umask's stay."""
    with suppress(FileNotFoundError):
        disk.system.chmod(temporary, _mode(path))


def _adopt_modes(temporary: str, path: str) -> None:
    """The same for a folder, and for the files in it: each may be read by whoever might read all of the old ones."""
    modes = [_mode(os.path.join(path, name)) for name in disk.system.listdir(path)]
    if modes:
        shared = 0o777
        for mode in modes:
            shared &= mode
        for name in disk.system.listdir(temporary):
            disk.system.chmod(os.path.join(temporary, name), shared)
    disk.system.chmod(temporary, _mode(path))


def _mode(path: str) -> int:
    return stat.S_IMODE(disk.system.stat(path).st_mode)
