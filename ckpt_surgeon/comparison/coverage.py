"""Coverage: how much of a target reads a source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ckpt_surgeon.keys.matching import matches_any
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Header, TensorSpec

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["Coverage", "coverage_of"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Loaded and wanted, by elements and by keys; ties count once, buffers count, allowed missing ones do not."""

    elements: int
    elements_wanted: int
    keys: int
    keys_wanted: int

    @property
    def by_elements(self) -> float:
        """A share from 0 to 1; 1 where nothing is wanted."""
        return self.elements / self.elements_wanted if self.elements_wanted else 1.0

    @property
    def by_keys(self) -> float:
        """A share from 0 to 1; 1 where nothing is wanted."""
        return self.keys / self.keys_wanted if self.keys_wanted else 1.0


def coverage_of(target: Header, loaded: Collection[str], allowed_missing: Sequence[Pattern] = ()) -> Coverage:
    """The coverage of `target` by the keys in `loaded`. A key which may be missing but is loaded counts like any other."""
    found = {target.aliases.get(key, key) for key in loaded}
    elements = elements_wanted = keys = keys_wanted = 0
    for key, entry in target.entries.items():
        if key in target.aliases:
            continue
        is_loaded = key in found
        if not is_loaded and allowed_missing and matches_any(allowed_missing, key):
            continue
        size = entry.numel if isinstance(entry, TensorSpec) else 0
        keys_wanted += 1
        elements_wanted += size
        keys += is_loaded
        elements += size * is_loaded
    return Coverage(elements, elements_wanted, keys, keys_wanted)
