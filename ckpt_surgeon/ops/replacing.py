"""replace: runs of whole segments, anywhere in a key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from heapq import merge
from typing import ClassVar

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import Braced, Plain, Segment, parse_capture, parse_segments
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, text_pairs
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.protocol import Body, Edit, Move
from ckpt_surgeon.ops.selection import MOST_PROBLEMS, checked_template

__all__ = ["Replace", "Replacer", "Run"]


@dataclass(frozen=True, slots=True)
class Replace(NameDefaults):
    """Replace runs of whole segments anywhere in a key, every occurrence, all pairs at once; an empty text takes them out.

    Keys are read from the left; where several runs start at one place, the longest is taken, and of two of one length the
    one without wildcards. What was put in is not read again.

    >>> Replace({"attention.output.dense": "attn.proj", "net": ""}).edits(["h.0.attention.output.dense.net.weight", "network.weight"], None)
    [Move(source='h.0.attention.output.dense.net.weight', target='h.0.attn.proj.weight')]
    """

    name: ClassVar[str] = "replace"
    body: ClassVar[Body] = Body("pairs", only=True)

    pairs: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        assign(self, pairs=text_pairs(self.pairs, self.name, blank=True))
        Replacer.of(self.pairs)

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key which holds one of the runs."""
        replacer = Replacer.of(self.pairs)
        edits: list[Edit] = []
        problems: list[Problem] = []
        for key in keys:
            try:
                place = replacer.replaced(key)
            except RulesError as error:
                problems += error.problems
                continue
            if place is not None:
                edits.append(Move(key, place))
        if problems:
            raise RulesError(problems[:MOST_PROBLEMS])
        return edits


@dataclass(frozen=True, slots=True)
class _Pair:
    """A run of `length` segments, and what stands in its place (None: nothing). `first`: the segment with which it starts, if literal."""

    pattern: Pattern
    length: int
    template: Template | None
    first: str | None
    known: dict[str, str | None] = field(default_factory=dict)  # run -> its replacement; a checkpoint repeats few runs many times

    @property
    def rank(self) -> tuple[int, bool]:
        """Sorts the longest first, and of one length those without wildcards."""
        return -self.length, not self.pattern.is_literal

    def replacement(self, run: str) -> str | None:
        """What stands for the run; None where it does not match."""
        if run not in self.known:
            captures = self.pattern.match(run)
            expanded = "" if self.template is None or captures is None else self.template.expand(captures)
            self.known[run] = None if captures is None else expanded
        return self.known[run]


@dataclass(frozen=True, slots=True)
class Run:
    """Segments `start` to `stop` of a key, and the text which takes their place (empty: none)."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True, slots=True)
class Replacer:
    """The pairs by the segment with which they start, the longest first; `anywhere` are those which start with a wildcard.

    literal: what finds the runs of `texts`, where none has a wildcard and none is taken out: by far the most, and far quicker.
    """

    starting: Mapping[str, Sequence[_Pair]]
    anywhere: Sequence[_Pair]
    texts: Mapping[str, str]
    literal: re.Pattern[str] | None

    @classmethod
    def of(cls, pairs: Mapping[str, str]) -> Replacer:
        """From the texts; RulesError for one which is wrong."""
        parsed = sorted((_pair(*item) for item in pairs.items()), key=lambda pair: pair.rank)
        starting: dict[str, list[_Pair]] = {}
        for pair in parsed:
            if pair.first is not None:
                starting.setdefault(pair.first, []).append(pair)
        anywhere = [pair for pair in parsed if pair.first is None]
        is_literal = all(pair.pattern.is_literal and pairs[pair.pattern.text] for pair in parsed)
        return cls(starting, anywhere, pairs, _any_of([pair.pattern.text for pair in parsed]) if is_literal else None)

    def replaced(self, key: str) -> str | None:
        """The new name; None where no run is found."""
        if self.literal is not None:
            name, count = self.literal.subn(lambda found: self.texts[found[0]], key)
            return name if count else None
        segments = key.split(".")
        runs = self._runs(key, segments)
        if not runs:
            return None
        parts: list[str] = []
        at = 0
        for run in runs:
            parts += [*segments[at : run.start], *([run.text] if run.text else ())]
            at = run.stop
        parts += segments[at:]
        if not parts:
            raise RulesError(f"replace: nothing would be left of the name {escape(key)}", hint="Use `drop` to leave a key out.")
        return ".".join(parts)

    def runs(self, key: str) -> list[Run]:
        """The runs which are replaced, from left to right."""
        return self._runs(key, key.split("."))

    def _runs(self, key: str, segments: Sequence[str]) -> list[Run]:
        runs: list[Run] = []
        free = 0  # the first segment which no run has taken
        for at, segment in enumerate(segments):
            if at < free or not (self.anywhere or segment in self.starting):
                continue
            found = self._longest(key, segments, at)
            if found is not None:
                free = at + found[0]
                runs.append(Run(at, free, found[1]))
        return runs

    def _longest(self, key: str, segments: Sequence[str], at: int) -> tuple[int, str] | None:
        """(its number of segments, its replacement) of the run to be replaced at this place."""
        best: tuple[_Pair, str] | None = None
        for pair in self._candidates(segments[at]):
            if best is not None and (pair.length < best[0].length or best[0].pattern.is_literal):
                break
            if at + pair.length > len(segments):
                continue
            text = pair.replacement(".".join(segments[at : at + pair.length]))
            if text is not None and best is not None:
                patterns = f"{best[0].pattern.text} and {pair.pattern.text}"
                raise RulesError(f"replace: two runs of one length match in {escape(key)}: {patterns}", hint="Narrow one of them.")
            best = best if text is None else (pair, text)
        return None if best is None else (best[0].length, best[1])

    def _candidates(self, segment: str) -> Iterable[_Pair]:
        """The pairs which may match a run that starts with this segment, the longest first."""
        starting = self.starting.get(segment, ())
        return merge(starting, self.anywhere, key=lambda pair: pair.rank) if self.anywhere else starting


def _any_of(runs: Sequence[str]) -> re.Pattern[str]:
    """Whichever of these runs, the first of them first, fills whole segments."""
    return re.compile(rf"(?<![^.])(?:{'|'.join(map(re.escape, runs))})(?![^.])")


@lru_cache(maxsize=4096)
def _pair(run: str, replacement: str) -> _Pair:
    if run.startswith("re:"):
        raise RulesError(f"replace: {run!r}: a regular expression matches whole keys, not runs of segments", hint="Use `rename` or `sub`.")
    segments = parse_segments(run)
    if any(map(_is_path, segments)):
        raise RulesError(f"replace: {run!r}: a run has a fixed number of segments; `**` and paths have none", hint="Use `rename`.")
    pattern = Pattern.parse(run)
    template = checked_template(pattern, replacement) if replacement else None
    for text in (run, replacement):
        if text and () in parse_segments(text):
            raise RulesError(f"replace: {text!r} has an empty segment", hint="Leave out dots at the start and at the end.")
    return _Pair(pattern, len(segments), template, _literal(segments[0]))


def _is_path(segment: Segment) -> bool:
    return any(_is_path_capture(piece.body) if isinstance(piece, Braced) else "**" in piece.text for piece in segment)


def _is_path_capture(body: str) -> bool:
    return parse_capture(body)[1].kind == "path"


def _literal(segment: Segment) -> str | None:
    """The segment's text, if it holds no wildcard."""
    texts = [piece.text for piece in segment if isinstance(piece, Plain) and "*" not in piece.text]
    return "".join(texts) if len(texts) == len(segment) else None
