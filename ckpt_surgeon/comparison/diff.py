"""Diff: a source's header against a target's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from ckpt_surgeon.comparison.coverage import Coverage, coverage_of
from ckpt_surgeon.comparison.fitting import fills_itself, fits
from ckpt_surgeon.keys.matching import matching
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import DType, Entry, Header, Opaque, TensorSpec

if TYPE_CHECKING:
    from ckpt_surgeon.comparison.hints import Wrappers
    from ckpt_surgeon.comparison.values import Values
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["Diff", "compare"]


@dataclass(frozen=True)
class Diff:
    """What stands between a source and a target.

    missing: target keys which the source lacks. unexpected: source keys which the target lacks.
    mismatched: key -> (source, target) entries whose shapes differ. matched: keys which fit, in target order.
    casts: matched keys whose dtypes differ -> (source, target). filled: buffers which torch fills itself.
    allowed: missing or unexpected keys which were said to be so. wrappers, nearest: guesses at what the names have in common.
    values: what a comparison of the matched tensors' values came to; None where none was asked for.
    suggested: of how many target keys names, shapes and places tell surely what they are; None where that was not looked for.
    """

    missing: Mapping[str, Entry]
    unexpected: Mapping[str, Entry]
    mismatched: Mapping[str, tuple[Entry, Entry]]
    matched: tuple[str, ...]
    casts: Mapping[str, tuple[DType, DType]]
    coverage_counts: Coverage
    filled: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    wrappers: Wrappers | None = None
    nearest: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    values: Values | None = None
    suggested: int | None = None

    @property
    def coverage(self) -> float:
        """The share of the target's elements which the source fills."""
        return self.coverage_counts.by_elements

    @property
    def coverage_keys(self) -> float:
        """The share of the target's tensors which the source fills."""
        return self.coverage_counts.by_keys

    @property
    def same(self) -> bool:
        """Whether a strict load would succeed: nothing missing, unexpected or mismatched but what was allowed."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs at all: `same`, no dtype, and none of the values which were compared."""
        return self.same and not self.casts and not (self.values and self.values.different)


def compare(
    source: Header,
    target: Header,
    *,
    allow_missing: Sequence[Pattern] = (),
    allow_unexpected: Sequence[Pattern] = (),
    new: Collection[str] = (),
) -> Diff:
    """The difference of two headers; `new` are source keys which read no weight (made by an `init` rule)."""
    present = source.entries
    tied = _tied(present, target)
    absent = [key for key in target.entries if key not in present and key not in tied]
    filled = dict.fromkeys(key for key in absent if fills_itself(key, target, present))
    missing = {key: target.entries[key] for key in absent if key not in filled}
    unexpected = {key: entry for key, entry in present.items() if key not in target.entries}
    pairs = {key: (present[tied.get(key, key)], entry) for key, entry in target.entries.items() if key in present or key in tied}
    mismatched = {key: pair for key, pair in pairs.items() if not fits(*pair)}
    matched = tuple(key for key in pairs if key not in mismatched)
    allowed = matching(allow_missing, missing) + matching(allow_unexpected, unexpected)
    hidden = set(allowed)
    missing = {key: entry for key, entry in missing.items() if key not in hidden}
    unexpected = {key: entry for key, entry in unexpected.items() if key not in hidden}
    wrappers, nearest = _guesses(unexpected, missing)
    loaded = [key for key in (*matched, *filled) if tied.get(key, key) not in new]
    return Diff(
        missing=missing,
        unexpected=unexpected,
        mismatched=mismatched,
        matched=matched,
        casts=_casts(pairs, matched),
        coverage_counts=coverage_of(target, loaded, allow_missing),
        filled=tuple(filled),
        allowed=tuple(allowed),
        wrappers=wrappers,
        nearest=nearest,
        notes=tuple(f"{key}: {pairs[key][0]} stands for {pairs[key][1]}" for key in matched if _differs_by_one(pairs.get(key))),
    )


def _guesses(unexpected: Mapping[str, Entry], missing: Mapping[str, Entry]) -> tuple[Wrappers | None, dict[str, str]]:
    """What the names which lack a partner may have in common: wrappers, and the nearest ones."""
    if not unexpected or not missing:
        return None, {}
    from ckpt_surgeon.comparison.hints import find_wrappers, nearest_keys

    return find_wrappers(unexpected, missing), nearest_keys(missing, unexpected)


def _tied(present: Mapping[str, Entry], target: Header) -> dict[str, str]:
    """Target keys which are absent, but tied in the target to one which is there, to that one: to one which fits, if any does."""
    if not target.aliases:
        return {}
    found: dict[str, str] = {}
    for key, entry in target.entries.items():
        first = found.get(target.canonical(key))
        if key in present and (first is None or (fits(present[key], entry) and not fits(present[first], entry))):
            found[target.canonical(key)] = key
    names = {key: found.get(target.canonical(key)) for key in target.entries if key not in present}
    return {key: first for key, first in names.items() if first is not None}


def _differs_by_one(pair: tuple[Entry, Entry] | None) -> bool:
    if pair is None or isinstance(pair[0], Opaque) or isinstance(pair[1], Opaque):
        return False
    return pair[0].shape != pair[1].shape


def _casts(pairs: Mapping[str, tuple[Entry, Entry]], matched: Sequence[str]) -> dict[str, tuple[DType, DType]]:
    found = {}
    for key in matched:
        source, target = pairs.get(key, (None, None))
        if isinstance(source, TensorSpec) and isinstance(target, TensorSpec) and source.dtype.name != target.dtype.name:
            found[key] = (source.dtype, target.dtype)
    return found
