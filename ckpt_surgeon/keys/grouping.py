"""Which keys belong together: source patterns and target templates -> groups of inputs and outputs; fold and unfold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.syntax import Capture
from ckpt_surgeon.keys.template import Template

__all__ = ["Group", "group"]

_MAX_OUTPUTS = 100_000  # of one group; the largest model unstacks some thousand experts
_MAX_LISTED = 8  # names in one message
_MAX_PROBLEMS = 20  # of one rule in one error
_MAX_DIGITS = 18  # of an index: what an int64 surely holds

Count = Callable[[tuple[str, ...]], int | None]


@dataclass(frozen=True, slots=True)
class Group:
    """One application of an op: its inputs and outputs in order, and what they have in common."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Match:
    key: str
    source: int
    captures: Mapping[str, str]


def group(
    keys: Sequence[str],
    sources: Sequence[Pattern],
    targets: Sequence[Template],
    count: Count = lambda _: None,
    known: Collection[str] = (),
    limit: int = _MAX_OUTPUTS,
) -> list[Group]:
    """The groups, in the order in which `keys` first names one of their inputs.

    No targets: each key which any of the sources matches is a group of its own and stays. One source: each match is a group,
    unless one capture stands only there: it is folded, an int from 0 to n-1, alternatives in the order written. Several sources:
    the inputs, in list order. A capture written with its type stands only in the target: it is unfolded, an int to
    `count(inputs)` outputs (where that is None: as many as `known` holds without a gap), alternatives in order. Several targets: the
    outputs, in list order.

    Raises RulesError, without a place, for sources and targets which don't go together, incomplete groups, and two groups of one output.
    """
    if not targets:
        return [Group((key,), (key,), captures) for key in keys if (captures := _first_match(sources, key)) is not None]
    captured = _captured(sources)
    folded = _folded(sources, targets, captured)
    unfolded = _unfolded(targets, captured)
    problems: list[Problem] = []
    groups: list[Group] = []
    for members in _gathered(_matches(keys, sources), folded, len(sources)):
        try:
            groups.append(_grouped(members, sources, targets, folded, unfolded, count, known, limit))
        except RulesError as error:
            problems += error.problems
    problems += _collisions(groups)
    if problems:
        raise RulesError(problems[:_MAX_PROBLEMS])
    return groups


def _first_match(sources: Sequence[Pattern], key: str) -> dict[str, str] | None:
    return next((captures for source in sources if (captures := source.match(key)) is not None), None)


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
    """The capture which stands only in the source; an empty string for none."""
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
    if captured[lone[0]].kind not in ("int", "alternatives"):
        raise RulesError(
            f"{lone[0]!r} in {texts}: a {captured[lone[0]].kind} capture cannot be folded, its order is not known",
            hint=f"Write {{{lone[0]}:int}} or {{{lone[0]}:one|two}}, or put {{{lone[0]}}} into the target.",
        )
    return lone[0]


def _unfolded(targets: Sequence[Template], captured: Mapping[str, Capture]) -> tuple[str, Capture] | None:
    """The typed capture which stands only in the target."""
    for target in targets:
        target.check(captured)
    lone = {name: (target, capture) for target in targets for name, capture in target.typed.items() if name not in captured}
    if not lone:
        return None
    (name, (target, capture)), *others = lone.items()
    if others or len(targets) > 1:
        raise RulesError(
            f"{', '.join(lone)} in {target.text!r}: in no source, and not the only thing to unfold",
            hint="Either list the targets, or unfold one capture of a single target.",
        )
    if capture.kind not in ("int", "alternatives"):
        raise RulesError(
            f"{name!r} in {target.text!r}: a {capture.kind} cannot be unfolded", hint=f"Write {{{name}:int}} or {{{name}:one|two}}."
        )
    return name, capture


def _matches(keys: Sequence[str], sources: Sequence[Pattern]) -> list[_Match]:
    """Every match; a key which two of the sources match is an error."""
    found: list[_Match] = []
    for key in keys:
        own = [_Match(key, at, captures) for at, source in enumerate(sources) if (captures := source.match(key)) is not None]
        if len(own) > 1:
            texts = " and ".join(repr(sources[match.source].text) for match in own[:2])
            raise RulesError(f"{escape(key)} is matched by two sources, {texts}", hint="Each source in a list is another input.")
        found += own
    return found


def _gathered(matches: Iterable[_Match], folded: str, sources: int) -> Iterable[list[_Match]]:
    """The matches of each group, in key order; without a fold or a list each match is its own group."""
    if not folded and sources == 1:
        return ([match] for match in matches)
    groups: dict[tuple[str, ...], list[_Match]] = {}
    for match in matches:
        common = tuple(value for name, value in match.captures.items() if name != folded) if sources == 1 else _sorted_values(match)
        groups.setdefault(common, []).append(match)
    return groups.values()


def _sorted_values(match: _Match) -> tuple[str, ...]:
    """Values by name: each source may capture the names in another order."""
    return tuple(match.captures[name] for name in sorted(match.captures))


def _grouped(
    members: list[_Match],
    sources: Sequence[Pattern],
    targets: Sequence[Template],
    folded: str,
    unfolded: tuple[str, Capture] | None,
    count: Count,
    known: Collection[str],
    limit: int,
) -> Group:
    captures = {name: value for name, value in members[0].captures.items() if name != folded}
    if folded:
        inputs = _folded_inputs(members, sources[0], folded)
    elif len(sources) > 1:
        inputs = _listed_inputs(members, sources)
    else:
        inputs = (members[0].key,)
    if unfolded is None:
        return Group(inputs, tuple(target.expand(captures) for target in targets), captures)
    return Group(inputs, _unfolded_outputs(inputs, captures, targets[0], unfolded, count, known, limit), captures)


def _folded_inputs(members: list[_Match], source: Pattern, folded: str) -> tuple[str, ...]:
    capture = source.captures[folded]
    by_value: dict[str, str] = {}
    for match in members:
        value = match.captures[folded]
        value = (value.lstrip("0") or "0") if capture.kind == "int" else value
        if value in by_value:
            raise RulesError(
                f"{source.text!r}: {escape(by_value[value])} and {escape(match.key)} are both {folded} = {escape(value)} of one group",
                hint="Capture what tells them apart, instead of matching it with `*` or `**`.",
            )
        by_value[value] = match.key
    wanted = capture.values if capture.kind == "alternatives" else _indices(by_value)
    lacking = [value for value in wanted if value not in by_value]
    if lacking:
        there = f"{len(by_value)} of {len(wanted)} are there" if capture.kind == "alternatives" else f"{len(by_value)} are there"
        raise RulesError(
            f"{source.text!r}: the group of {escape(members[0].key)} lacks {folded} = {_listed(lacking)}; {there}",
            hint="A group has to be complete: an int runs from 0 without gaps, of alternatives each is there.",
        )
    return tuple(by_value[value] for value in wanted)


def _indices(found: Collection[str]) -> tuple[str, ...]:
    """`0` .. the largest index, cut off where it is already clear that some lack (a lone index 7000000 lists no millions)."""
    enough = len(found) + _MAX_LISTED + 1
    top = max(int(value) if len(value) <= _MAX_DIGITS else enough for value in found)
    return tuple(map(str, range(min(top + 1, enough))))


def _listed_inputs(members: list[_Match], sources: Sequence[Pattern]) -> tuple[str, ...]:
    by_source: dict[int, str] = {}
    for match in members:
        if match.source in by_source:
            raise RulesError(
                f"{sources[match.source].text!r}: {escape(by_source[match.source])} and {escape(match.key)} belong to one group",
                hint="Capture what tells them apart, and put it into the target.",
            )
        by_source[match.source] = match.key
    lacking = [repr(source.text) for at, source in enumerate(sources) if at not in by_source]
    if lacking:
        raise RulesError(
            f"the group of {escape(members[0].key)} lacks a key for {_listed(lacking)}",
            hint="Each source in a list is an input; a group needs all of them.",
        )
    return tuple(by_source[at] for at in range(len(sources)))


def _unfolded_outputs(
    inputs: tuple[str, ...],
    captures: Mapping[str, str],
    target: Template,
    unfolded: tuple[str, Capture],
    count: Count,
    known: Collection[str],
    limit: int,
) -> tuple[str, ...]:
    name, capture = unfolded
    if capture.kind == "alternatives":
        return tuple(target.expand({**captures, name: value}) for value in capture.values)
    number = count(inputs)
    if number is None:
        outputs = (target.expand({**captures, name: str(at)}) for at in range(limit + 1))
        found = tuple(takewhile(known.__contains__, outputs))
        number = len(found)
        if not number:
            raise RulesError(
                f"{target.text!r}: how many outputs {escape(inputs[0])} has is not known",
                hint="Give the op its sizes, or a target which holds these keys.",
            )
    if not 0 < number <= limit:
        raise RulesError(f"{target.text!r}: {number} outputs of {escape(inputs[0])}; 1 to {limit} are allowed")
    return tuple(target.expand({**captures, name: str(at)}) for at in range(number))


def _collisions(groups: Iterable[Group]) -> list[Problem]:
    """Outputs which two groups make, or one group twice."""
    makers: dict[str, Group] = {}
    problems: list[Problem] = []
    for one in groups:
        for output in one.outputs:
            other = makers.setdefault(output, one)
            if other is not one:
                both = f"{_listed(other.inputs)} and {_listed(one.inputs)}"
                problems.append(Problem(f"{both} would both become {escape(output)}", hint="Put what tells them apart into the target."))
        if len(set(one.outputs)) < len(one.outputs):
            problems.append(Problem(f"{_listed(one.inputs)}: two outputs of one name among {_listed(one.outputs)}"))
    return problems


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:_MAX_LISTED])
    return f"{shown}, ..." if len(names) > _MAX_LISTED else shown
