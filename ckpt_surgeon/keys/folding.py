"""Scheme: what listed, folded and unfolded sources and targets mean, before any key is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import Capture
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MAX_LISTED", "MAX_OUTPUTS", "Count", "Match", "Scheme", "listed"]

MAX_OUTPUTS = 100_000  # of one group; the largest model unstacks some thousand experts
MAX_LISTED = 8  # names in one message
_MAX_DIGITS = 18  # of an index: what an int64 surely holds

Count = Callable[[tuple[str, ...]], int | None]


@dataclass(frozen=True, slots=True)
class Match:
    """A key which source number `source` matches."""

    key: str
    source: int
    captures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scheme:
    """Sources and targets which go together. folded / unfolded: the capture which stands only in the one source / target, or empty."""

    sources: tuple[Pattern, ...]
    targets: tuple[Template, ...]
    folded: str
    unfolded: str

    @staticmethod
    def of(sources: Sequence[Pattern], targets: Sequence[Template]) -> Scheme:
        """Raises RulesError, without a place, when they do not go together."""
        captured = _captured(sources)
        for target in targets:
            target.check(captured)
        return Scheme(tuple(sources), tuple(targets), _folded(sources, targets, captured), _unfolded(targets, captured))

    @property
    def has_many_inputs(self) -> bool:
        """Whether a group has several inputs."""
        return bool(self.folded) or len(self.sources) > 1

    @property
    def has_many_outputs(self) -> bool:
        """Whether a group has several outputs."""
        return bool(self.unfolded) or len(self.targets) > 1

    def common(self, match: Match) -> tuple[str, ...]:
        """What the matches of one group have in common, by name: listed sources may capture in different orders."""
        return tuple(match.captures[name] for name in sorted(match.captures) if name != self.folded)

    def inputs(self, members: Sequence[Match]) -> tuple[str, ...]:
        """The inputs of a group, in order. Raises RulesError when some lack or one is there twice."""
        wanted, named = self._wanted(members)
        found: dict[str | int, str] = {}
        for match in members:
            name = self._name(match)
            if name in found:
                raise RulesError(
                    f"{escape(found[name])} and {escape(match.key)} are both {named(name)} of one group",
                    hint="Capture what tells them apart, instead of matching it with `*` or `**`, and put it into the target.",
                )
            found[name] = match.key
        lacking = [named(name) for name in wanted if name not in found]
        if lacking:
            raise RulesError(
                f"the group of {escape(members[0].key)} lacks {listed(lacking)}",
                hint="A group has to be complete: an int runs from 0 without gaps; each alternative, each listed source is there.",
            )
        return tuple(found[name] for name in wanted)

    def _name(self, match: Match) -> str | int:
        """Which of a group's inputs a match is: the folded value, or the number of its source."""
        if not self.folded:
            return match.source
        value = match.captures[self.folded]
        return (value.lstrip("0") or "0") if self.sources[0].captures[self.folded].kind == "int" else value

    def _wanted(self, members: Sequence[Match]) -> tuple[Sequence[str | int], Callable[[str | int], str]]:
        """The inputs which a group has to have, and how a message names one."""
        if not self.folded:
            return range(len(self.sources)), lambda at: f"a key of {self.sources[int(at)].text!r}"
        capture = self.sources[0].captures[self.folded]
        wanted = capture.values if capture.kind == "alternatives" else _indices([str(self._name(match)) for match in members])
        return wanted, lambda value: f"{self.folded} = {escape(str(value))}"

    def outputs(
        self, inputs: tuple[str, ...], captures: Mapping[str, str], count: Count, known: Collection[str], limit: int
    ) -> tuple[str, ...]:
        """The outputs of a group, in order. Raises RulesError when their number is not known or out of bounds."""
        if not self.unfolded:
            return tuple(target.expand(captures) for target in self.targets)
        target = self.targets[0]
        capture = target.typed[self.unfolded]
        if capture.kind == "alternatives":
            return tuple(target.expand({**captures, self.unfolded: value}) for value in capture.values)
        number = count(inputs)
        if number is None:
            numbered = (target.expand({**captures, self.unfolded: str(at)}) for at in range(limit + 1))
            number = sum(1 for _ in takewhile(known.__contains__, numbered))
            if not number:
                raise RulesError(
                    f"{target.text!r}: how many outputs {escape(inputs[0])} has is not known",
                    hint="Give the op its sizes, or a target which holds these keys.",
                )
        if not 0 < number <= limit:
            raise RulesError(f"{target.text!r}: {number} outputs of {escape(inputs[0])}; 1 to {limit} are allowed")
        return tuple(target.expand({**captures, self.unfolded: str(at)}) for at in range(number))


def listed(names: Sequence[str]) -> str:
    """The first names, escaped."""
    shown = ", ".join(escape(name) for name in names[:MAX_LISTED])
    return f"{shown}, ..." if len(names) > MAX_LISTED else shown


def _captured(sources: Sequence[Pattern]) -> Mapping[str, Capture]:
    """What the sources capture; listed sources have to capture the same."""
    first, *others = sources
    for other in others:
        if dict(other.captures) != dict(first.captures):
            raise RulesError(
                f"the sources {first.text!r} and {other.text!r} do not capture the same names",
                hint="Sources in a list are the inputs of one group, so each has to tell to which group a key belongs.",
            )
    return first.captures


def _folded(sources: Sequence[Pattern], targets: Sequence[Template], captured: Mapping[str, Capture]) -> str:
    used = {name for target in targets for name in target.names}
    lone = [name for name in captured if name not in used]
    if not lone:
        return ""
    texts = ", ".join(repr(source.text) for source in sources)
    if len(sources) > 1 or len(lone) > 1:
        raise RulesError(
            f"{', '.join(lone)} in {texts}: captured, but in no target",
            hint="One capture of a single source may be folded; put the others into the target, or match them with `*` or `**`.",
        )
    kind = captured[lone[0]].kind
    if kind not in ("int", "alternatives"):
        raise RulesError(
            f"{lone[0]!r} in {texts}: a {kind} capture cannot be folded, its order is not known",
            hint=f"Write {{{lone[0]}:int}} or {{{lone[0]}:one|two}}, or put {{{lone[0]}}} into the target.",
        )
    return lone[0]


def _unfolded(targets: Sequence[Template], captured: Mapping[str, Capture]) -> str:
    lone = {name: (target, capture) for target in targets for name, capture in target.typed.items() if name not in captured}
    if not lone:
        return ""
    (name, (target, capture)), *others = lone.items()
    if others or len(targets) > 1:
        raise RulesError(
            f"{', '.join(lone)} in {target.text!r}: in no source, and not the only thing to unfold",
            hint="Either list the targets, or unfold one capture of a single target.",
        )
    if capture.kind not in ("int", "alternatives"):
        raise RulesError(
            f"{name!r} in {target.text!r}: a {capture.kind} capture cannot be unfolded",
            hint=f"Write {{{name}:int}} or {{{name}:one|two}}.",
        )
    return name


def _indices(found: Sequence[str]) -> tuple[str, ...]:
    """`0` .. the largest index, cut off where it is already clear that some lack (a lone index 7000000 lists no millions)."""
    enough = len(found) + MAX_LISTED + 1
    top = max(int(value) if len(value) <= _MAX_DIGITS else enough for value in found)
    return tuple(map(str, range(min(top + 1, enough))))
