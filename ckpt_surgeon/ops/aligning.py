"""align_names: a source key takes the target's name for it, where both differ in known parts only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.arguments import assign, texts
from ckpt_surgeon.ops.defaults import NameDefaults
from ckpt_surgeon.ops.prefixes import segments_of
from ckpt_surgeon.ops.protocol import Edit, Move
from ckpt_surgeon.ops.selection import MOST_PROBLEMS

__all__ = ["AlignNames"]

_MOST_NAMED = 4  # candidates in one message
_ONE_OF_THEM = "Drop or rename one of them first."


@dataclass(frozen=True, slots=True)
class AlignNames(NameDefaults):
    """Give source keys the names of the target keys from which they differ only in the listed parts, on either side.

    A key which bears a target's name stays, and that name is taken. A key without a candidate is left alone.
    prefixes: runs of segments at the start of a key, any of them, in any order. segments: single ones, anywhere.

    >>> op = AlignNames(prefixes=("module.", "base_model."), segments=("net",))
    >>> op.edits(["module.base_model.layer1.0.conv1.net.weight"], {"base_model.layer1.0.conv1.weight"})
    [Move(source='module.base_model.layer1.0.conv1.net.weight', target='base_model.layer1.0.conv1.weight')]
    """

    name: ClassVar[str] = "align_names"
    needs_target: ClassVar[bool] = True

    prefixes: str | tuple[str, ...] = ()
    segments: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assign(self, prefixes=_listed(self.prefixes, "align_names: prefixes"), segments=_listed(self.segments, "align_names: segments"))
        if not self.prefixes and not self.segments:
            raise RulesError("align_names: neither prefixes nor segments", hint="Such as {prefixes: [module.], segments: [net]}.")
        self._parts()

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """A move for each key with a target's name or with exactly one candidate; RulesError names those with several."""
        if target is None:
            raise RulesError("align_names needs a target: it takes its names from there", hint="Give a target.")
        wanted = target if isinstance(target, Mapping | set | frozenset) else set(target)
        present = set(keys)
        parts = self._parts()
        index: dict[str, list[str]] = {}
        for name in target:
            for form in () if name in present else parts.forms(name):
                index.setdefault(form, []).append(name)
        candidates = {key: [key] if key in wanted else _candidates(parts.forms(key), index) for key in keys}
        _refuse_several(candidates)
        return [Move(key, names[0]) for key, names in candidates.items() if names]

    def _parts(self) -> _Parts:
        segments = frozenset(self.segments)
        for segment in segments:
            if len(segments_of(segment, f"{self.name}: segments")) != 1 or segment.endswith("."):
                raise RulesError(f"{self.name}: {segment!r} is no single segment", hint="Segments have no dots; prefixes may.")
        runs = [segments_of(prefix, f"{self.name}: prefixes") for prefix in self.prefixes]
        plain = [[segment for segment in run if segment not in segments] for run in runs]
        return _Parts(tuple(dict.fromkeys(".".join(run) + "." for run in plain if run)), segments)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a name which do not count; the prefixes with their last dot, and without the segments."""

    prefixes: tuple[str, ...]
    segments: frozenset[str]

    def forms(self, key: str) -> tuple[str, ...]:
        """What is left of a key without these parts. Several, only where a listed prefix is the start of another."""
        segments = key.split(".")
        if not self.segments.isdisjoint(segments):
            key = ".".join(segment for segment in segments if segment not in self.segments) or key
        if not key.startswith(self.prefixes):
            return (key,)
        waiting, found = [key], dict[str, None]()
        while waiting:
            left = waiting.pop()
            shorter = [left.removeprefix(prefix) for prefix in self.prefixes if left.startswith(prefix) and left != prefix]
            waiting += [form for form in shorter if form not in waiting]
            found |= {} if shorter else {left: None}
        return tuple(found)


def _listed(value: object, what: str) -> tuple[str, ...]:
    return () if value in ((), []) else texts(value, what)


def _candidates(forms: Sequence[str], index: Mapping[str, list[str]]) -> list[str]:
    if len(forms) == 1:
        return index.get(forms[0], [])
    return list(dict.fromkeys(name for form in forms for name in index.get(form, [])))


def _refuse_several(candidates: Mapping[str, Sequence[str]]) -> None:
    """RulesError for each key which could take several names, and each name which several keys could take."""
    problems = [
        Problem(f"align_names: {escape(key)} could take several names of the target: {_some(names)}", hint=_ONE_OF_THEM)
        for key, names in candidates.items()
        if len(names) > 1
    ]
    takers: dict[str, list[str]] = {}
    for key, names in candidates.items():
        if len(names) == 1:
            takers.setdefault(names[0], []).append(key)
    problems += [
        Problem(f"align_names: several keys could take the target's name {escape(name)}: {_some(keys)}", hint=_ONE_OF_THEM)
        for name, keys in takers.items()
        if len(keys) > 1
    ]
    if problems:
        raise RulesError(problems[:MOST_PROBLEMS])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return " and ".join(map(escape, names[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
