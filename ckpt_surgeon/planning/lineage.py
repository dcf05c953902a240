"""Lineage: where each key of a checkpoint comes from, as a value which stands for itself, without the plan it was made by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from itertools import islice
from typing import Any, Final

from ckpt_surgeon.comparison import Digests
from ckpt_surgeon.keys.aliases import split_alias
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.affixes import longest_prefix
from ckpt_surgeon.spec import Entry, Header, TensorSpec

__all__ = ["AS_IT_IS", "Lineage", "Origin", "Ran", "Way", "Work", "plan_digest", "spec_text"]

# Rows which are put into one text: few enough that long names take no memory, many enough that each costs little.
_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class Ran:
    """A rule: its number among those given, counted from 1, its op, and its `line:column` (empty: it stood in no file)."""

    number: int
    op: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """Output number `output` of an op. inputs: numbers of the way's sources and, counted on after them, of its earlier steps."""

    op: str
    parameters: Mapping[str, Any]
    output: int
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How `sources` tensors become one: through the steps, the last of which gives it (none: it is the source itself).

    rules: which had a part in it, as positions in `Lineage.rules`.
    """

    sources: int
    steps: tuple[Work, ...] = ()
    rules: tuple[int, ...] = ()


AS_IT_IS: Final = Way(1)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one key comes from: these source keys (of other sources: `alias::key`), on this way."""

    key: str
    sources: tuple[str, ...]
    way: Way

    @property
    def classification(self) -> str:
        """`exact`, `renamed`, `adapted` or `initialized`."""
        if not self.way.steps:
            (source,) = self.sources
            return "exact" if self.key in (source, split_alias(source)[1]) else "renamed"
        return "adapted" if self.sources else "initialized"


@dataclass(frozen=True)
class Lineage:
    """Where the keys of a checkpoint come from; the keys themselves, but for those which stand in `keys`, are the checkpoint's.

    plan: the digest of the plan which made it (see `plan_digest`). targets: the number of its keys.
    keys: key -> the position of its way in `ways`, and its sources. prefixes: the same for all other keys which start so, as long
    as no longer prefix fits: in the source the second text stood in its place. A key which neither knows is as in the source.
    missing: target keys to which nothing led. tensors: key -> what it is (`float32[64, 3]`), digests: what the bytes come to, where known.
    """

    plan: str
    targets: int
    rules: tuple[Ran, ...] = ()
    ways: tuple[Way, ...] = ()
    prefixes: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    keys: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    tensors: Mapping[str, str] | None = None
    digests: Digests | None = None

    def origin(self, key: str) -> Origin:
        """Where a key of the checkpoint comes from."""
        if key in self.keys:
            way, sources = self.keys[key]
            return Origin(key, sources, self.ways[way])
        prefix = longest_prefix(key, self.prefixes)
        if prefix is None:
            return Origin(key, (key,), AS_IT_IS)
        way, source = self.prefixes[prefix]
        return Origin(key, (source + key[len(prefix) :],), self.ways[way])

    def rows(self, header: Header) -> Iterator[tuple[str, tuple[str, ...], Way]]:
        """Key, sources and way of all keys of the checkpoint, sorted by key."""
        for origin in map(self.origin, sorted(header.entries)):
            yield origin.key, origin.sources, origin.way

    def came_of(self, source: str, keys: Iterable[str]) -> list[str]:
        """Those of the checkpoint's keys which read a source key."""
        return [key for key in keys if source in self.origin(key).sources]


def spec_text(entry: Entry) -> str:
    """What an entry is: `float32[64, 3]`; of an opaque one only that it is `opaque`."""
    return f"{entry.dtype.name}{list(entry.shape)}" if isinstance(entry, TensorSpec) else "opaque"


def plan_digest(header: Header, origins: Iterable[tuple[str, tuple[str, ...], Way]]) -> str:
    """SHA-256 of what a checkpoint holds and where it comes from, whatever it is called and in which order it stands.

    origins: key, sources and way of all keys of the header, sorted by key. Of each: its key, what it is, the steps of its way (op,
    parameters, output, inputs), the number of its sources, and these, as JSON values in ASCII, each followed by a comma.
    """
    seen = hashlib.sha256()
    # By identity: headers and lineages hold few of them, many times, and their hashes take longer than all the rest.
    specs: dict[int, str] = {}
    steps: dict[int, str] = {}
    rows = iter(origins)
    while batch := list(islice(rows, _ROWS)):
        values: list[str | int] = []
        for key, sources, way in batch:
            entry = header.entries[key]
            spec = specs.get(id(entry)) or specs.setdefault(id(entry), spec_text(entry))
            text = steps.get(id(way)) or steps.setdefault(id(way), _steps_text(way))
            values += (key, spec, text, len(sources), *sources)
        seen.update(json.dumps(values, separators=(",", ":"))[1:-1].encode("ascii") + b",")
    return seen.hexdigest()


def _steps_text(way: Way) -> str:
    """The steps as canonical JSON: `[["concat",{"dim":0},0,[0,1]]]`."""
    rows = [[work.op, work.parameters, work.output, work.inputs] for work in way.steps]
    return json.dumps(rows, separators=(",", ":"), sort_keys=True)
