"""What is written where while something goes wrong, and what must hold whatever went wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.formats.opening import open_checkpoint

WORKPLACE, ASIDE = ".{}.ckpt-surgeon-tmp", "replaced.ckpt-surgeon-tmp"


@dataclass(frozen=True)
class Scenario:
    """A source, a destination, and whether an older output stands there; `lacks_exchange`: two names cannot be exchanged.

    takes_digest: bytes are read on their way, and not moved by the system.
    """

    source: str
    out: str
    is_over_old: bool
    lacks_exchange: bool = False
    takes_digest: bool = False

    @property
    def name(self) -> str:
        return (
            f"{self.source} to {'an old' if self.is_over_old else 'a new'} {self.out}"
            + (" without exchange" if self.lacks_exchange else "")
            + (" with a digest" if self.takes_digest else "")
        )

    @property
    def is_sharded(self) -> bool:
        return self.out == "shards"


SCENARIOS = (
    *(
        Scenario(source, out, is_over_old)
        for source, out in (("in.pt", "out.pt"), ("in.safetensors", "out.safetensors"))
        for is_over_old in (False, True)
    ),
    Scenario("in.pt", "out.safetensors", True, takes_digest=True),
    *(Scenario("in.safetensors", "shards", is_over_old) for is_over_old in (False, True)),
    Scenario("in.pt", "shards", True, lacks_exchange=True),
)


class Stage:
    """A folder with a source in `given`, and a destination in `home`; what stood there (`old`) and what shall (`new`), as digests."""

    def __init__(self, folder: Path, scenario: Scenario, *, home: Path | None = None, numel: int = 200) -> None:
        """home: where the destination lies, if not in `folder`. numel: elements of each of the three tensors, of 4 bytes."""
        self.folder, self.scenario = folder, scenario
        self.given, self.home, self._kept = folder / "given", home or folder / "home", folder / "kept"
        for each in (self.given, self.home, self._kept):
            each.mkdir(parents=True, exist_ok=True)
        self.source, self.out = self.given / scenario.source, self.home / scenario.out
        self.shard_bytes = 8 * numel if scenario.is_sharded else None  # two tensors in the first shard, one in the second
        _save(self._kept / scenario.source, 1.0, numel)
        _save(self.source, 2.0, numel)
        self._source_digest = digest(self.source)
        self._plan = surgeon.plan(str(self.source))
        _convert(surgeon.plan(str(self._kept / scenario.source)), self._kept / scenario.out, self.shard_bytes)
        self.old = digest(self._kept / scenario.out) if scenario.is_over_old else None
        self.write()
        self.new = digest(self.out)
        self.lay()

    def lay(self) -> None:
        """Put the destination's folder back to its beginning."""
        for each in (self.out, self.workplace):
            remove(each)
        if self.scenario.is_over_old:
            copy = shutil.copytree if self.scenario.is_sharded else shutil.copyfile
            copy(self._kept / self.scenario.out, self.out)

    def write(self) -> None:
        """A conversion, by the library."""
        _convert(self._plan, self.out, self.shard_bytes, "sha256" if self.scenario.takes_digest else None)

    @property
    def words(self) -> list[str]:
        """The same, as words of the command line."""
        shards = [] if self.shard_bytes is None else ["--max-shard-size", str(self.shard_bytes)]
        digest_words = ["--digest"] if self.scenario.takes_digest else []
        return ["remap", str(self.source), "-o", str(self.out), "--force", *shards, *digest_words]

    @property
    def workplace(self) -> Path:
        return self.home / WORKPLACE.format(self.scenario.out)

    def paths(self) -> list[str]:
        """Every path which the surgery may touch: the source, the destination, and all that may come beside it."""
        names = sorted({path.name for folder in (self._kept / self.scenario.out, self.out) if folder.is_dir() for path in folder.iterdir()})
        folders = [self.out, self.workplace / self.scenario.out, self.workplace / ASIDE]
        within = [folder / name for folder in folders for name in names]
        return [str(path) for path in (self.source, self.home, self.workplace, self.workplace / "lock.ckpt-surgeon-tmp", *folders, *within)]

    def is_new(self) -> bool:
        """Whether the new one stands at the destination."""
        return digest(self.out) == self.new

    def violations(self, *, code: int | None, codes: tuple[int, ...] = (0, 5), killed: bool = False) -> list[str]:
        """Which promises are broken after a run which ended with `code` (None: unknown). Ends with a next run, which must succeed."""
        found = digest(self.out)
        is_aside = self.scenario.lacks_exchange and found is None and digest(self.workplace / ASIDE) == self.old
        broken = [] if killed or code in codes else [f"exit code {code} instead of one of {codes}"]
        if found not in (self.old, self.new) and not is_aside:
            broken.append(f"the destination is neither the old nor the new one: {found}")
        if code == 0 and found != self.new:
            broken.append("success was said, and the new one is not there")
        broken += [f"{path} passes for a checkpoint" for path in self._others() if is_checkpoint(path)]
        return broken + self.violations_of_the_next_run()

    def _others(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.home):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                if not Path(path).is_relative_to(self.out):
                    yield path

    def violations_of_the_next_run(self) -> list[str]:
        """Which promises are broken by a run in which nothing goes wrong, whatever was left to it."""
        try:
            self.write()
        except SurgeryError as error:
            return [f"the next run fails: {error}"]
        broken = [] if digest(self.out) == self.new else ["the next run does not write the new one"]
        broken += [f"the next run leaves {self.workplace}"] if self.workplace.exists() else []
        return broken + ([] if digest(self.source) == self._source_digest else ["the source has changed"])


def _convert(plan: surgeon.Plan, out: Path, shard_bytes: int | None, algorithm: str | None = None) -> None:
    surgeon.write(plan, str(out), force=True, max_shard_size=shard_bytes, digest=algorithm)


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing where nothing is."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def digest(path: Path) -> str | None:
    """The names and bytes at a path; None where nothing is."""
    if path.is_dir():
        inner = [f"{each.name} {digest(each)}" for each in sorted(path.iterdir())]
        return hashlib.sha256("\n".join(inner).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _save(path: Path, value: float, numel: int) -> None:
    tensors = {f"layer.{key}": torch.full((numel,), value + i) for i, key in enumerate("abc")}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def is_checkpoint(path: str) -> bool:
    """Whether a reader takes it for one."""
    try:
        open_checkpoint(path).close()
    except SurgeryError:
        return False
    return True
