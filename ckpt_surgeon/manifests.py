"""The manifest of an output, which tells where each of its keys comes from: in its header, and in a file of its own beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Final

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import DiskError, LimitError, SurgeryError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.planning.stamping import is_surgery
from ckpt_surgeon.publishing import publish_file
from ckpt_surgeon.spec import LINEAGE

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Digests
    from ckpt_surgeon.planning import Lineage, Plan
    from ckpt_surgeon.spec import Header

__all__ = ["AUTO", "Manifest", "manifest_of", "manifest_path", "read_lineage"]

AUTO: Final = "auto"
_SUFFIX: Final = ".lineage.json"
# As a safetensors header may have, which says about as much of each key.
_MAX_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is told of an output's lineage: `texts` in its metadata, and all of it in a file at `path`, if there is one."""

    lineage: Lineage | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Where it stands, unless that goes without saying."""
        if self.path is not None:
            return (f"its lineage stands in {self.path}",)
        if self.texts and LINEAGE not in self.texts:
            return ("its manifest is too large for the header, and was left out: --lineage writes it to a file",)
        return ()

    @contextmanager
    def publishing(self, *, force: bool, sources: Sequence[str]) -> Iterator[Callable[[Header, Digests | None], None]]:
        """What writes the file, which takes its name when the block ends, and is gone when it raises; does nothing without a path.

        Raises what `publish_file` raises, before the block.
        """
        if self.path is None or self.lineage is None:
            yield lambda header, digests: None
            return
        lineage = self.lineage
        with publish_file(self.path, force=force, sources=sources) as temporary:
            yield lambda header, digests: _write(temporary, lineage, header, digests)


def manifest_of(plan: Plan, header: Header, path: str | None, *, has_metadata: bool) -> Manifest:
    """The manifest of what a plan makes. header: of the output. path: of the file beside it. has_metadata: of the output's format.

    Where nothing changed but the order of keys, none is in the header: what one there tells of an earlier surgery stays true.
    """
    has_texts = has_metadata and is_surgery(plan.outcome, plan.recipes, list(plan.header.entries), plan.source)
    if not has_texts and path is None:
        return Manifest()
    from ckpt_surgeon.planning import embedded, lineage_of

    lineage = lineage_of(plan)
    return Manifest(lineage, embedded(lineage, header) if has_texts else {}, path)


def manifest_path(given: str | os.PathLike[str] | None, out: str) -> str | None:
    """The path of the manifest's file: `auto` is OUT.lineage.json. Raises SurgeryError for a name which it cannot have.

    >>> manifest_path("auto", "flow.pth"), manifest_path("auto", "shards/")
    ('flow.pth.lineage.json', 'shards.lineage.json')
    """
    if given is None:
        return None
    path = out.rstrip(os.sep) + _SUFFIX if given == AUTO else os.fspath(given)
    name = os.path.basename(path).lower()
    if not name.endswith(".json") or name.endswith(".index.json"):
        raise SurgeryError(f"{path!r} is no manifest's name: it ends in .json, and not as an index", hint=f"`auto` is OUT{_SUFFIX}")
    places = os.path.realpath(path), os.path.realpath(out)
    if os.path.commonpath(places) == places[1]:
        raise DiskError("the manifest would take the place of the output, or lie in it", where=path, hint="give it another name")
    return path


def read_lineage(path: str) -> Lineage:
    """The lineage in a manifest's file. Raises DiskError, and what `parse_lineage` raises."""
    from ckpt_surgeon.planning import parse_lineage

    with InputFile(path) as file:
        if file.nbytes > _MAX_BYTES:
            raise LimitError(f"the manifest has {file.nbytes} bytes; at most {_MAX_BYTES} are read", where=path)
        return parse_lineage(file.read(0, file.nbytes), path)


def _write(path: str, lineage: Lineage, header: Header, digests: Digests | None) -> None:
    from ckpt_surgeon.planning import lineage_text, spec_text

    tensors = {key: spec_text(entry) for key, entry in header.entries.items()}
    text = lineage_text(replace(lineage, tensors=tensors, digests=digests))
    with OutputFile(path) as file:
        file.write(f"{text}\n".encode())
        file.sync()
