"""The same for a file which is edited in place: it is its own destination, and a journal may stand beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from fault_scenarios import Scenario, Stage, digest, is_checkpoint, remove
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import LockedError, SurgeryError
from ckpt_surgeon.formats.pending import journal_path

# Without it there is room for the digest of the rules.
PREFIX = "a_prefix_which_leaves_some_room_once_it_is_gone"
RULE = f"strip_prefix: {PREFIX}."


class EditScenario(Scenario):
    """`source` is edited in place."""

    @property
    def name(self) -> str:
        return f"in place {self.source}"


EDITS = tuple(EditScenario(name, name, True) for name in ("in.safetensors", "in.pt"))


class EditStage(Stage):
    """A folder with one file, `source` and `out` in one, which loses a prefix of its names."""

    def __init__(self, folder: Path, scenario: Scenario, *, home: Path | None = None, numel: int = 200) -> None:
        """As of Stage."""
        self.folder, self.scenario = folder, scenario
        self.given, self.home, self._kept = folder / "given", home or folder / "home", folder / "kept"
        for each in (self.given, self.home, self._kept):
            each.mkdir(parents=True, exist_ok=True)
        self.source = self.out = self.home / scenario.out
        _save(self._kept / scenario.out, numel)
        self.old = digest(self._kept / scenario.out)
        self.lay()
        self._plan = surgeon.plan(str(self.out), [{"strip_prefix": f"{PREFIX}."}])
        self.write()
        self.new = digest(self.out)
        self.lay()

    @property
    def journal(self) -> Path:
        return Path(journal_path(str(self.out)))

    def lay(self) -> None:
        """Put the file back to its beginning."""
        for each in (self.out, self.workplace, self.journal):
            remove(each)
        shutil.copyfile(self._kept / self.scenario.out, self.out)

    def write(self) -> None:
        """What is unfinished is settled, then the edit is done."""
        surgeon.recover(str(self.out))
        if digest(self.out) == self.old:
            surgeon.edit(self._plan)

    @property
    def words(self) -> list[str]:
        return ["remap", str(self.out), "-e", RULE, "--in-place"]

    def paths(self) -> list[str]:
        inner = [self.workplace / name for name in ("lock.ckpt-surgeon-tmp", "journal")]
        return [str(path) for path in (self.home, self.out, self.journal, self.workplace, *inner)]

    def violations(self, *, code: int | None, codes: tuple[int, ...] = (0, 5), killed: bool = False) -> list[str]:
        broken = [] if killed or code in codes else [f"exit code {code} instead of one of {codes}"]
        if code == 0 and (digest(self.out) != self.new or self.journal.exists()):
            broken.append("success was said, and the new one is not there, or its journal stays")
        broken += [f"{path} passes for a checkpoint" for path in self._others() if is_checkpoint(path)]
        if self.journal.exists():
            broken += list(self._violations_while_pending())
        found = digest(self.out)
        if found not in (self.old, self.new):
            broken.append(f"the file is neither the old nor the new one: {found}")
        return broken + self.violations_of_the_next_run()

    def _violations_while_pending(self) -> Iterator[str]:
        """Every reader turns it away, and `recover` brings it into a state which is whole."""
        try:
            surgeon.inspect(str(self.out))
            yield "it is read while its journal stands"
        except LockedError:
            pass
        try:
            surgeon.recover(str(self.out))
        except SurgeryError as error:
            yield f"it cannot be recovered: {error}"
        if self.journal.exists():
            yield "the journal stays"

    def violations_of_the_next_run(self) -> list[str]:
        try:
            self.write()
        except SurgeryError as error:
            return [f"the next run fails: {error}"]
        broken = [] if digest(self.out) == self.new else ["the next run does not write the new one"]
        return broken + [f"the next run leaves {path}" for path in (self.workplace, self.journal) if path.exists()]


def staged(folder: Path, scenario: Scenario, *, home: Path | None = None, numel: int = 200) -> Stage:
    """The stage of a scenario."""
    kind = EditStage if isinstance(scenario, EditScenario) else Stage
    return kind(folder, scenario, home=home, numel=numel)


def _save(path: Path, numel: int) -> None:
    tensors = {f"{PREFIX}.layer.{key}": torch.full((numel,), 1.0 + i) for i, key in enumerate("abc")}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"epoch": 3, "state_dict": tensors}, path)
