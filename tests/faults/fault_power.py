"""Power cuts: what a disk holds at each step of a writer, mounted again as after a restart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_disks import ext4, mounted, sync_all
from fault_edits import staged
from fault_machines import LOOKING, Machine, in_place
from fault_scenarios import Scenario


@dataclass(frozen=True)
class Habit:
    """What a file system brings to the disk before the power is cut, beside what the writer asks for; see HABITS."""

    name: str
    journal: str
    flush: Callable[[Path], None]


def _flush_names(place: Path) -> None:
    """Sync another file, so that all names, but no other file's bytes, come to the disk."""
    descriptor = os.open(place / "another", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"x")
    os.fsync(descriptor)
    os.close(descriptor)


HABITS = (
    Habit("nothing but what was synced", "ordered", lambda _: None),
    Habit("names before bytes", "writeback", _flush_names),
    Habit("everything", "ordered", sync_all),
)


class _CameraMachine(Machine):
    """Keeps a copy of the disk, as it is without power, after each call which changes something."""

    def __init__(self, image: Path, place: Path, habit: Habit, *, lacks_exchange: bool) -> None:
        super().__init__(lacks_exchange=lacks_exchange)
        self.copies: list[Path] = []
        self._image, self._place, self._habit = image, place, habit

    def carry_out(self, name: str, call: Callable[[], Any]) -> Any:
        result = call()
        if name not in LOOKING:
            self._habit.flush(self._place)
            self.take()
        return result

    def take(self) -> None:
        """Copy the file in which the file system lies: what has not reached it yet is lost."""
        copy = self._image.with_name(f"cut-{len(self.copies)}.img")
        shutil.copyfile(self._image, copy)
        self.copies.append(copy)


def violations(folder: Path, scenario: Scenario, habit: Habit) -> tuple[int, list[str]]:
    """How often the power was cut, and which promises were broken; the last cut comes after success was said."""
    with ext4(folder, habit.journal) as (image, place):
        stage = staged(folder / "stage", scenario, home=place)
        sync_all(place)
        camera = _CameraMachine(image, place, habit, lacks_exchange=scenario.lacks_exchange)
        with in_place(camera):
            stage.write()
        camera.take()
    found = []
    for number, copy in enumerate(camera.copies):
        is_said = number == len(camera.copies) - 1
        with mounted(copy, folder, habit.journal):
            broken = stage.violations(code=0 if is_said else None, killed=True)
        found += [f"{habit.name}, {scenario.name}, cut {number} of {len(camera.copies)}: {each}" for each in broken]
        copy.unlink()
    return len(camera.copies), found
