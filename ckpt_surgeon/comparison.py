"""Header x Header -> Diff(missing, unexpected, mismatched, matched, casts), coverage; and Outcome, what a load came to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each target key (and of the source keys which have no place).

    exact: same key and bytes. renamed: same bytes under another name. adapted: computed or reshaped.
    initialized: by an `init` rule. missing_keys / unexpected_keys: torch's. dropped: source key -> reason.
    filled: buffers which torch fills itself. coverage: elements loaded / elements wanted; coverage_keys: the same by keys.
    """

    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    initialized: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    coverage: float = 1.0
    coverage_keys: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> tuple[str, ...]:
        """The target keys which took nothing from the source: initialized or missing."""
        return self.initialized + self.missing_keys
