"""Moves of keys -> the name ops which say them with the fewest pairs; tried on the names before they are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.writing.alignment import aligned
from ckpt_surgeon.mapping.writing.numbering import Numbered, numbered
from ckpt_surgeon.mapping.writing.runs import chosen_runs
from ckpt_surgeon.mapping.writing.samples import Sample
from ckpt_surgeon.mapping.writing.wholes import whole_renames
from ckpt_surgeon.ops.aligning import AlignNames
from ckpt_surgeon.ops.prefixes import AddPrefix, StripPrefix
from ckpt_surgeon.ops.protocol import Move, NameOp
from ckpt_surgeon.ops.renaming import Rename
from ckpt_surgeon.ops.replacing import Replace, Replacer

__all__ = ["Naming", "named", "name_ops", "size_of"]

_T = TypeVar("_T")

_SAMPLE_SIZES = (32, 256, 1_000_000)  # moves of one family on which ops are looked for
_FREE = 32  # free names in a sample, for each move of a family in it
_STRIDE = 7919  # a prime
_LEAST_GAINS = (0.01, 1.01)  # hunks a pair of `replace` takes care of: any at all, or more than one


@dataclass(frozen=True, slots=True)
class Naming:
    """What is to become of names. moves: of each key whose new name matters; free: keys which may take any name.

    Two keys never take one name, and no free key stands where another is to go.
    """

    moves: Mapping[str, str]
    free: Sequence[str] = ()
    target: Mapping[str, object] | frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Names in all."""
        return len(self.moves) + len(self.free)


def size_of(op: NameOp) -> int:
    """Pairs, prefixes and patterns which a person would read."""
    if isinstance(op, Rename | Replace):
        return len(op.pairs)
    if isinstance(op, StripPrefix):
        return 1 if isinstance(op.prefixes, str) else len(op.prefixes)
    if isinstance(op, AlignNames):
        return len(op.prefixes) + len(op.segments)
    return 1 if not isinstance(op, AddPrefix) or isinstance(op.match, str) else len(op.match)


def name_ops(naming: Naming) -> list[NameOp]:
    """The smallest list of ops which is found on some of the names and proves right on all of them."""
    if all(key == place for key, place in naming.moves.items()):
        return []
    families = numbered(naming.moves.items())
    for most in _SAMPLE_SIZES:
        sample = _sample(naming, families, most)
        ops = _cheapest(sample)
        if ops is not None and (sample.size == naming.size or _is_right(ops, naming)):
            return ops
        if sample.size == naming.size:
            break
    return [Rename({key: place for key, place in naming.moves.items() if key != place})]


def _cheapest(naming: Naming) -> list[NameOp] | None:
    """Of the ways which are right one which costs least; none is looked for beyond a single prefix."""
    best: list[NameOp] | None = None
    for ops in _candidates(naming):
        if (best is None or _cost(ops) < _cost(best)) and _is_right(ops, naming):
            best = ops
        if best is not None and _cost(best) <= 1:
            break
    return best


def _cost(ops: Sequence[NameOp]) -> float:
    """Pairs, and half a one for each rule which holds some; a prefix is read at a glance."""
    return sum(map(size_of, ops)) + sum(not isinstance(op, StripPrefix | AddPrefix) for op in ops) / 2


def _sample(naming: Naming, families: Sequence[Numbered], most: int) -> Naming:
    """So many moves of each family and names which are free: numbers make families large, and teach nothing new."""
    chosen = {move[0] for family in families for move in _some(family.moves, most)}
    moves = {key: place for key, place in naming.moves.items() if key in chosen}
    return Naming(moves, _some(naming.free, most * _FREE), naming.target)


def _some(things: Sequence[_T], most: int) -> Sequence[_T]:
    """The first, the last and others from all over the place, so that no regular pattern of numbers is met by chance."""
    if len(things) <= most:
        return things
    places = {0, len(things) - 1, *(at * _STRIDE % len(things) for at in range(1, most - 1))}
    return [things[at] for at in sorted(places)]


def _candidates(naming: Naming) -> Iterator[list[NameOp]]:
    """Ways to say it, the plainest first; ways which the ops themselves refuse are left out."""
    with suppress(RulesError):
        yield from _alignments(naming)
    for stripped, added in _prefixes(naming.moves):
        with suppress(RulesError):
            yield from _behind(stripped, added, naming.moves)


def _behind(stripped: str, added: str, moves: Mapping[str, str]) -> Iterator[list[NameOp]]:
    """Ways which begin with these prefixes, or end with the one which is added."""
    before: list[NameOp] = [*([StripPrefix(stripped)] if stripped else []), *([AddPrefix(added)] if added else [])]
    yield from ([*before, *ops] for ops in _inner(_after(before, moves)))
    if added and all(place.startswith(added) and place != added for place in moves.values()):
        rest = {key: place.removeprefix(added) for key, place in moves.items()}
        yield from ([*before[:-1], *ops, before[-1]] for ops in _inner(_after(before[:-1], rest)))


def _alignments(naming: Naming) -> Iterator[list[NameOp]]:
    """`align_names`, where names differ in nothing but segments which come or go, each in several modules."""
    parts: dict[tuple[str, bool], set[str]] = {}
    for family in numbered(naming.moves.items()):
        for hunk in aligned(family.source, family.target):
            run = (*family.source[hunk.start : hunk.stop], *family.target[hunk.first : hunk.last])
            if (hunk.start < hunk.stop and hunk.first < hunk.last) or not all(map(_is_plain, run)):
                return
            is_prefix = hunk.start == hunk.first == 0
            texts = [str(segment[0]) for segment in run]
            for text in [".".join(texts) + "."] if is_prefix else texts:
                parts.setdefault((text, is_prefix), set()).update(key.rpartition(".")[0] for key, _ in family.moves)
    if all(len(modules) > 1 for modules in parts.values()):
        prefixes, segments = (tuple(text for text, is_prefix in parts if is_prefix == wanted) for wanted in (True, False))
        yield [AlignNames(prefixes, segments)]


def _is_plain(segment: tuple[object, ...]) -> bool:
    return len(segment) == 1 and isinstance(segment[0], str)


def _prefixes(moves: Mapping[str, str]) -> list[tuple[str, str]]:
    """(a prefix to strip, one to add); either may be empty."""
    stripped = _usual(moves, taken_away=True)
    both: list[tuple[str, str]] = []
    with suppress(RulesError):
        both += [(stripped, _usual(_after([StripPrefix(stripped)], moves), taken_away=False))] if stripped else []
    return list(dict.fromkeys([*both, (stripped, ""), ("", _usual(moves, taken_away=False)), ("", "")]))


def _usual(moves: Mapping[str, str], *, taken_away: bool) -> str:
    """The prefix with its dot which most families lose (or get); empty where there is none."""
    votes: Counter[str] = Counter()
    families = numbered(moves.items())
    for family in families:
        one, other = (family.source, family.target) if taken_away else (family.target, family.source)
        hunks = aligned(one, other)
        if hunks and hunks[0].start == hunks[0].first == hunks[0].last == 0:
            run = one[: hunks[0].stop]
            votes["".join(f"{segment[0]}." for segment in run) if all(map(_is_plain, run)) else ""] += 1
    del votes[""]
    prefix, count = votes.most_common(1)[0] if votes else ("", 0)
    return prefix if 2 * count >= len(families) else ""


def _after(ops: Sequence[NameOp], moves: Mapping[str, str]) -> dict[str, str]:
    """The moves which are left when the ops have run. Raises RulesError where two keys become one."""
    names = _run(ops, list(moves), frozenset())
    return dict(zip(names, moves.values(), strict=True))


def _inner(moves: Mapping[str, str]) -> Iterator[list[NameOp]]:
    """Ways to say moves by `replace` and `rename`."""
    if all(key == place for key, place in moves.items()):
        yield []
        return
    yield [Rename(pairs) for pairs in whole_renames(moves)]
    tried: list[dict[str, str]] = []
    for least_gain in _LEAST_GAINS:
        pairs = chosen_runs(numbered(moves.items()), least_gain)
        if pairs and pairs not in tried:
            tried.append(pairs)
            yield from _with_renames(pairs, moves)


def _with_renames(pairs: dict[str, str], moves: Mapping[str, str]) -> Iterator[list[NameOp]]:
    """A `replace` and what renames, before or after it, the keys which it leaves wrong."""
    op, replacer = Replace(pairs), Replacer.of(pairs)
    found = {key: replacer.replaced(key) or key for key in moves}
    wrong = {key for key, place in moves.items() if found[key] != place}
    if not wrong:
        yield [op]
        return
    before = _before(replacer, moves, wrong)
    if before is not None:
        yield [*(Rename(each) for each in whole_renames(before)), op]
    if len(set(found.values())) == len(found):
        yield [op, *(Rename(each) for each in whole_renames({found[key]: place for key, place in moves.items()}))]


def _before(replacer: Replacer, moves: Mapping[str, str], wrong: set[str]) -> dict[str, str] | None:
    """Moves after which the replacer makes all names right; None where there are none."""
    found = {key: key for key in moves}
    for family in numbered(moves.items()):
        hunks = aligned(family.source, family.target)
        for key, place in family.moves:
            if key in wrong:
                sample = Sample(0, tuple(key.split(".")), tuple(place.split(".")), hunks)
                names = (sample.without(replacer.runs(key)), place)
                right = next((name for name in names if (replacer.replaced(name) or name) == place), None)
                if right is None:
                    return None
                found[key] = right
    return found


def _run(ops: Sequence[NameOp], names: Sequence[str], target: Mapping[str, object] | frozenset[str]) -> list[str]:
    """What becomes of names. Raises RulesError where two become one."""
    current = list(names)
    for op in ops:
        places = {edit.source: edit.target for edit in op.edits(current, target) if isinstance(edit, Move)}
        current = [places.get(name, name) for name in current]
        if len(set(current)) < len(current):
            raise RulesError(f"{op.name}: two keys become one")
    return current


def named(ops: Sequence[NameOp], naming: Naming) -> dict[str, str]:
    """What each key is called when the ops have run. Raises RulesError where two become one."""
    names = [*naming.moves, *naming.free]
    return dict(zip(names, _run(ops, names, naming.target), strict=True))


def _is_right(ops: Sequence[NameOp], naming: Naming) -> bool:
    try:
        found = named(ops, naming)
    except RulesError:
        return False
    return all(found[key] == place for key, place in naming.moves.items())
