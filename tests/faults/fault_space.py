"""Disks which are full: the same run with a little more space each time, until it fits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fault_disks import ext4, resize, tmpfs
from fault_edits import staged
from fault_machines import Machine, in_place
from fault_scenarios import Scenario, Stage

from ckpt_surgeon.errors import DiskError

_PAGE, _BLOCK = 4096, 1024
_PLENTY = "size=4m,nr_inodes=1000"
_MOST_STEPS = 100


class _UnreservingMachine(Machine):
    """A file system which cannot reserve space, so that it runs out in the middle of the writing."""

    def carry_out(self, name: str, call: Callable[[], Any]) -> Any:
        return None if name == "reserve" else call()


def violations(folder: Path, scenario: Scenario) -> tuple[int, list[str]]:
    """How many runs there were, and which promises were broken."""
    found = []
    count = 0
    for each in (*_in_memory(folder, scenario), *_on_disk(folder, scenario)):
        count += 1
        found += each
    return count, found


def _in_memory(folder: Path, scenario: Scenario) -> Iterator[list[str]]:
    """On a tmpfs: a page more each time; an inode more each time."""
    for limit, step in (("size", _PAGE), ("nr_inodes", 1)):
        for is_reserving in (True, False):
            with tmpfs(folder, _PLENTY) as place:
                stage = staged(folder / f"{limit}-{is_reserving}", scenario, home=place)
                yield from _steps(stage, is_reserving, partial(_squeeze, limit, step))


def _squeeze(limit: str, step: int, stage: Stage, i: int) -> Callable[[], None]:
    """Leave `i` steps of bytes or inodes beside what is there; gives back what undoes it."""
    status = os.statvfs(stage.home)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize if limit == "size" else status.f_files - status.f_ffree
    resize(stage.home, f"{limit}={max(used + i * step, step)}")  # 0 would mean no limit
    return lambda: resize(stage.home, _PLENTY)


def _on_disk(folder: Path, scenario: Scenario) -> Iterator[list[str]]:
    """On an ext4 which another file fills: a block more each time."""
    for is_reserving in (True, False):
        with ext4(folder, "ordered") as (_, place):
            stage = staged(folder / f"ext4-{is_reserving}", scenario, home=place)
            yield from _steps(stage, is_reserving, _fill)


def _fill(stage: Stage, i: int) -> Callable[[], None]:
    """Leave `i` blocks; gives back what undoes it."""
    left = i * _BLOCK
    filler = stage.home / "filler"
    with filler.open("wb") as file:
        while _free(stage.home) > left:
            file.write(bytes(max(_BLOCK, min(_free(stage.home) - left, 256 * _BLOCK))))
            file.flush()
            os.fsync(file.fileno())
    return filler.unlink


def _free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def _steps(stage: Stage, is_reserving: bool, squeeze: Callable[[Stage, int], Callable[[], None]]) -> Iterator[list[str]]:
    """Runs with ever more space, up to the second which succeeds; what each of them broke."""
    succeeded = 0
    for i in range(_MOST_STEPS):
        stage.lay()
        restore = squeeze(stage, i)
        code = _ended(stage, is_reserving)
        restore()
        left = ["the temporary folder stays"] if stage.workplace.exists() else []
        yield [f"{stage.folder.name}, {stage.scenario.name}, step {i}: {each}" for each in left + stage.violations(code=code)]
        succeeded += code == 0
        if succeeded == 2:
            return
    yield [f"{stage.folder.name}, {stage.scenario.name}: it never fits"]


def _ended(stage: Stage, is_reserving: bool) -> int:
    """The exit code of a run; any other error than that of a full disk is a bug."""
    machine = (Machine if is_reserving else _UnreservingMachine)(lacks_exchange=stage.scenario.lacks_exchange)
    try:
        with in_place(machine):
            stage.write()
    except DiskError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno != errno.ENOSPC:
            raise
        return DiskError.exit_code
    return 0
