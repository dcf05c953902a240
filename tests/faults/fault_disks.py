"""Small real file systems: a tmpfs and an ext4 in a file, mounted for a while. Needs root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TOOLS = ("mount", "umount", "mkfs.ext4", "losetup")
IMAGE_BYTES = 6 * 1024**2  # room for a journal of 1 MB, the smallest there is
# No help for those who forget to sync, and no commit of the journal but for who asks.
_HONEST = "noauto_da_alloc,commit=600"


def why_not(folder: Path) -> str:
    """Why nothing can be mounted here, or an empty string."""
    if os.geteuid() != 0:
        return "only root may mount"
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    try:
        with ext4(folder, "ordered"), tmpfs(folder, "size=64k"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"mounting fails: {error.stderr.strip()}"


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory: `size=64k`, `nr_inodes=10`."""
    place = _place(folder, "tmpfs")
    _do("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place))
    with _unmounted(place):
        yield place


def resize(place: Path, options: str) -> None:
    """Give a mounted tmpfs other limits."""
    _do("mount", "-o", f"remount,{options}", str(place))


@contextmanager
def ext4(folder: Path, journal: str) -> Iterator[tuple[Path, Path]]:
    """A new ext4 (`data=` ordered, writeback or journal): the file in which it lies, and where it is mounted."""
    image = folder / "ext4.img"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _do("mkfs.ext4", "-q", "-b", "1024", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    with mounted(image, folder, journal) as place:
        yield image, place


@contextmanager
def mounted(image: Path, folder: Path, journal: str) -> Iterator[Path]:
    """The place where the ext4 in a file is mounted; its journal is replayed first."""
    place = _place(folder, "ext4")
    _do("mount", "-t", "ext4", "-o", f"loop,data={journal},{_HONEST}", str(image), str(place))
    with _unmounted(place):
        yield place


def sync_all(place: Path) -> None:
    """Bring all of one file system to its disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        ctypes.CDLL(None, use_errno=True).syncfs(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unmounted(place: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _do("umount", str(place))


def _place(folder: Path, name: str) -> Path:
    place = folder / f"mounted-{name}"
    place.mkdir(exist_ok=True)
    return place


def _do(*words: str) -> None:
    subprocess.run(words, capture_output=True, text=True, check=True)
