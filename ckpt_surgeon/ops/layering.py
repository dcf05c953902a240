"""layers: the blocks of a stack, selected, repeated and put in another order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import Braced, Piece, parse_capture, parse_segments
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, text, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move
from ckpt_surgeon.ops.ranges import ranges_of
from ckpt_surgeon.ops.selection import MOST_PROBLEMS

__all__ = ["Layers"]

_MOST_LISTED = 8
_NAMED = "Give every part which varies a name: {name}, {rest:path}, {i:int}."


@dataclass(frozen=True, slots=True)
class Layers(NameDefaults):
    """Make the blocks of a stack anew: block j is what was block `pick[j]`.

    A block which is not picked is dropped; one which is picked again becomes an independent copy.
    match: the keys of the blocks. pick: numbers and ranges with both ends, in the order wanted. index: which capture counts the
    blocks, where `match` has several numbers. Captures before it tell stacks apart (`{side:encoder|decoder}.layers.{i:int}.{rest:path}`).

    >>> Layers("h.{i:int}.{rest:path}", pick=(1, 1)).edits(["h.0.w", "h.1.w"], None)
    [Drop(source='h.0.w', is_rest=False), Move(source='h.1.w', target='h.0.w'), Copy(source='h.1.w', target='h.1.w')]
    """

    name: ClassVar[str] = "layers"

    match: str | tuple[str, ...]
    pick: int | str | tuple[int | str, ...]
    index: str | None = None

    def __post_init__(self) -> None:
        assign(self, match=texts(self.match, "layers: match"))
        picked = tuple(self.pick) if isinstance(self.pick, list | tuple) else (self.pick,)
        assign(self, pick=picked)
        ranges_of(picked, "layers: pick")
        if self.index is not None:
            text(self.index, "layers: index")
        self._stacks()

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move, copies or a drop for each key of a block. RulesError for a block which is picked and is not there."""
        found = list(self._found(keys))
        blocks: dict[tuple[str, ...], set[int]] = {}
        for _, stack, captures, name in found:
            blocks.setdefault(name, set()).add(int(captures[stack.index]))
        ranges = ranges_of(self.pick, "layers: pick")
        problems = [problem for name, there in blocks.items() for problem in _beyond(name, there, ranges)]
        if problems:
            raise RulesError(problems[:MOST_PROBLEMS])
        if not found:
            return []
        places: dict[int, list[int]] = {}
        for place, old in enumerate(chain.from_iterable(ranges)):
            places.setdefault(old, []).append(place)
        return [edit for key, stack, captures, _ in found for edit in stack.placed(key, captures, places)]

    def _found(self, keys: Sequence[str]) -> Iterator[tuple[str, _Stack, dict[str, str], tuple[str, ...]]]:
        """Each key of a block, with what the first pattern which matches it captures, and the name of its stack."""
        stacks = self._stacks()
        for key in keys:
            for stack in stacks:
                captures = stack.pattern.match(key)
                if captures is not None:
                    yield key, stack, captures, (stack.pattern.text, *(captures[name] for name in stack.before))
                    break

    def _stacks(self) -> list[_Stack]:
        return [_Stack.of(pattern, self.index) for pattern in texts(self.match, "layers: match")]


@dataclass(frozen=True, slots=True)
class _Stack:
    """A pattern of the keys of blocks, which capture counts them, and which stand before that one."""

    pattern: Pattern
    template: Template
    index: str
    before: tuple[str, ...]

    @classmethod
    def of(cls, written: str, index: str | None) -> _Stack:
        """From the pattern's text."""
        pattern = Pattern.parse(written)
        numbers = [name for name, capture in pattern.captures.items() if capture.kind == "int"]
        if index is not None and index not in numbers:
            raise RulesError(f"layers: {written!r} captures no number {index!r}", hint=f"Write {{{index}:int}} where the blocks count.")
        if index is None and len(numbers) != 1:
            hint = f"Say which one counts the blocks: `index: {numbers[0]}`." if numbers else "Write {i:int} where the blocks count."
            raise RulesError(f"layers: {written!r} captures {len(numbers)} numbers", hint=hint)
        chosen = index or numbers[0]
        return cls(pattern, Template.parse(_template(written)), chosen, pattern.names[: pattern.names.index(chosen)])

    def placed(self, key: str, captures: dict[str, str], places: dict[int, list[int]]) -> Iterator[Edit]:
        """What becomes of a block's key: `places` are those of each old block."""
        wanted = places.get(int(captures[self.index]), [])
        if not wanted:
            yield Drop(key)
        for k, place in enumerate(wanted):
            target = self.template.expand({**captures, self.index: str(place)})
            yield Copy(key, target) if k else Move(key, target)


def _template(written: str) -> str:
    """The text of a template which puts back all that a pattern captures."""
    if written.startswith("re:"):
        raise RulesError(f"layers: {written!r} is a regular expression, from which no name can be made", hint=_NAMED)
    return ".".join("".join(_put_back(piece, written) for piece in segment) for segment in parse_segments(written))


def _put_back(piece: Piece, written: str) -> str:
    name = parse_capture(piece.body)[0] if isinstance(piece, Braced) else ""
    if not name and (isinstance(piece, Braced) or "*" in piece.text):
        raise RulesError(f"layers: {written!r} has a part without a name, which cannot be put back", hint=_NAMED)
    return f"{{{name}}}" if isinstance(piece, Braced) else piece.text


def _beyond(name: tuple[str, ...], blocks: set[int], ranges: Iterable[range]) -> Iterator[Problem]:
    """A problem for the first picked block of each range which is not there."""
    for each in ranges:
        lacking = next((old for old in each if old not in blocks), None)
        if lacking is not None:
            of = " of ".join([" ".join(name[1:]), name[0]]) if name[1:] else name[0]
            yield Problem(f"layers: block {lacking} is picked, and {of} has none", hint=f"There are: {_listed(sorted(blocks))}.")


def _listed(blocks: Sequence[int]) -> str:
    if blocks == list(range(blocks[0], blocks[0] + len(blocks))):
        return f"{blocks[0]}..{blocks[-1]}"
    more = len(blocks) - _MOST_LISTED
    return ", ".join(map(str, blocks[:_MOST_LISTED])) + (f" and {more} more" if more > 0 else "")
