"""Outcome: what became of each target key; Digests: what its bytes come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Digests", "Outcome"]


@dataclass(frozen=True, slots=True)
class Digests:
    """What the bytes of tensors come to, in hexadecimal.

    algorithm: `sha256` or `blake3`. tensors: key -> the digest of its contiguous little-endian bytes, tied keys included.
    whole: of keys, dtypes, shapes, values and ties together, the same for every format, sharding and order of keys.
    """

    algorithm: str
    tensors: Mapping[str, str]
    whole: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each target key, and of the source keys which have no place.

    exact: same key and bytes. renamed: same bytes under another name. adapted: computed or reshaped.
    initialized: by an `init` rule. missing_keys, unexpected_keys: torch's. dropped: source key -> reason.
    filled: buffers which torch fills itself. left_behind: what stood around the weights and was not written.
    coverage: elements loaded / elements wanted; coverage_keys: likewise by keys. digests: of what was written, where they were asked for.
    """

    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    initialized: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()
    coverage: float = 1.0
    coverage_keys: float = 1.0
    notes: tuple[str, ...] = ()
    digests: Digests | None = None

    @property
    def new(self) -> tuple[str, ...]:
        """The target keys which took nothing from the source: initialized or missing."""
        return self.initialized + self.missing_keys

    @property
    def loaded(self) -> tuple[str, ...]:
        """The target keys which read at least one source tensor."""
        return self.exact + self.renamed + self.adapted

    @property
    def classes(self) -> dict[str, str]:
        """Target key -> `exact`, `renamed`, `adapted`, `initialized` or `missing`; what torch fills itself is initialized."""
        lists = {"exact": self.exact, "renamed": self.renamed, "adapted": self.adapted, "missing": self.missing_keys}
        lists["initialized"] = self.initialized + self.filled
        return {key: name for name, keys in lists.items() for key in keys}
