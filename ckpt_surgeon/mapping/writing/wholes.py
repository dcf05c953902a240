"""Moves of whole keys -> `rename` rules: one pair for many moves, those which match fewer keys in an earlier rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.writing.numbering import Counted, Numbered, Segment, letters_of, numbered, rendered

__all__ = ["plain_pairs", "whole_renames"]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A pattern, its template, and the moves which they say."""

    source: str
    target: str
    moves: tuple[tuple[str, str], ...]

    @property
    def keys(self) -> frozenset[str]:
        """What it is to match."""
        return frozenset(key for key, _ in self.moves)


def whole_renames(moves: Mapping[str, str]) -> list[dict[str, str]]:
    """The pairs of each rule, in the order in which the rules run. moves: of every key whose name matters, those which stay among them."""
    families = [family for family in numbered(moves.items()) if family.source != family.target]
    pairs = [pair for group in _cores(families).values() for pair in _said(group, moves)]
    return [{pair.source: pair.target for pair in layer} for layer in _layers(pairs, moves)]


def plain_pairs(moves: Mapping[str, str]) -> dict[str, str]:
    """One pair for moves which differ in nothing but numbers, and nothing shorter; what stays is left out."""
    return dict(_texts(family, 0) for family in numbered(moves.items()) if family.source != family.target)


def _cores(families: Iterable[Numbered]) -> dict[tuple[str, str], list[Numbered]]:
    """Families by what is left of their names without the segments at the end in which both agree."""
    cores: dict[tuple[str, str], list[Numbered]] = {}
    for family in families:
        cores.setdefault(_texts(family, _shared(family)), []).append(family)
    return cores


def _shared(family: Numbered) -> int:
    """How many segments at the end stay; the first segment of either name does not count, nor one whose number others need."""
    most = min(len(family.source), len(family.target)) - 1
    same = next((n for n in range(most) if family.source[-1 - n] != family.target[-1 - n]), most)
    needed = _columns(family.target[: len(family.target) - same])
    return same if needed <= _columns(family.source[: len(family.source) - same]) else 0


def _columns(segments: Sequence[Segment]) -> set[int]:
    return {column for segment in segments for part in segment if isinstance(part, Counted) for column in part.columns}


def _texts(family: Numbered, shared: int) -> tuple[str, str]:
    """Pattern and template of a family without so many segments at the end."""
    source, target = (segments[: len(segments) - shared] for segments in (family.source, family.target))
    names = letters_of(source)
    return rendered(source, names, typed=True), rendered(target, names)


def _said(group: Sequence[Numbered], moves: Mapping[str, str]) -> list[_Pair]:
    """One pair for a group of one core; as many as families, where one would match what stays."""
    own = tuple(move for family in group for move in family.moves)
    source, target = _texts(group[0], _shared(group[0]))
    for tail in _tails(group) if len(group) > 1 else ():
        name = tail.strip("{}").partition(":")[0]
        pair = _Pair(f"{source}.{tail}", f"{target}.{{{name}}}", own)
        if all(moves[key] != key for key in _matched(pair, moves) - pair.keys):
            return [pair]
    return [_Pair(*_texts(family, 0), family.moves) for family in group]


def _tails(group: Sequence[Numbered]) -> list[str]:
    """What may stand for the segments in which the members of a group differ, the plainest first."""
    tails = [family.source[len(family.source) - _shared(family) :] for family in group]
    if any(len(tail) != 1 for tail in tails):
        return ["{rest:path}"]
    leaves = [str(part) for (tail,) in tails for part in tail if isinstance(part, str) and len(tail) == 1]
    return ["{leaf}", f"{{leaf:{'|'.join(dict.fromkeys(leaves))}}}"] if len(leaves) == len(tails) else ["{leaf}"]


def _matched(pair: _Pair, names: Collection[str]) -> set[str]:
    pattern = Pattern.parse(pair.source)
    return {name for name in names if pattern.match(name) is not None}


def _layers(pairs: Sequence[_Pair], names: Collection[str]) -> list[list[_Pair]]:
    """The pairs in rules: a pair stands in a later one than those whose keys it matches, too."""
    owner = {key: at for at, pair in enumerate(pairs) for key in pair.keys}
    matched = [_matched(pair, names) for pair in pairs]
    levels: dict[int, int] = {}
    for at in sorted(range(len(pairs)), key=lambda at: len(matched[at])):
        before = {owner[key] for key in matched[at] if owner.get(key, at) != at}
        levels[at] = max((levels[other] + 1 for other in before if other in levels), default=0)
    return [[pairs[at] for at in range(len(pairs)) if levels[at] == level] for level in sorted(set(levels.values()))]
