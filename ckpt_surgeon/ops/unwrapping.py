"""unwrap: names without what DistributedDataParallel, torch.compile and the like put around a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.prefixes import segments_of
from ckpt_surgeon.ops.protocol import Edit, Move

__all__ = ["Unwrap"]


@dataclass(frozen=True, slots=True)
class Unwrap(NameDefaults):
    """Take wrappers' parts out of names: segments anywhere, then prefixes at the start, each at most once, in the order listed.

    A part which a name of the target has as well is the model's own, and stays. So does a name of which nothing would be left.

    >>> Unwrap(prefixes="module.", segments="_orig_mod").edits(["module._orig_mod.fc.bias", "a.module.fc.bias"], None)
    [Move(source='module._orig_mod.fc.bias', target='fc.bias')]
    """

    name: ClassVar[str] = "unwrap"

    prefixes: str | tuple[str, ...] = ()
    segments: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for word in ("prefixes", "segments"):
            given = getattr(self, word)
            assign(self, **{word: () if given in ((), []) else texts(given, f"unwrap: {word}")})
        if not self.prefixes and not self.segments:
            raise RulesError("unwrap: neither prefixes nor segments", hint="`unwrap: {prefixes: [module.], segments: [_orig_mod]}`.")
        for prefix in self.prefixes:
            segments_of(prefix, "unwrap: prefixes")
        for segment in self.segments:
            if "." in segment or len(segments_of(segment, "unwrap: segments")) != 1:
                raise RulesError(f"unwrap: {segment!r} is no single segment", hint="Segments have no dots; prefixes may.")

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key which holds a wrapper's part."""
        wanted = tuple(target or ())
        own = {segment for name in wanted for segment in name.split(".")} if self.segments else set()
        segments = frozenset(self.segments) - own
        plain = [".".join(segments_of(prefix, "unwrap: prefixes")) + "." for prefix in self.prefixes]
        prefixes = [prefix for prefix in plain if not any(name.startswith(prefix) for name in wanted)]
        places = ((key, _bare(key, prefixes, segments)) for key in keys)
        return [Move(key, place) for key, place in places if place != key]


def _bare(key: str, prefixes: Sequence[str], segments: frozenset[str]) -> str:
    parts = key.split(".")
    bare = ".".join(part for part in parts if part not in segments) or key
    for prefix in prefixes:
        if bare != prefix:
            bare = bare.removeprefix(prefix)
    return bare
