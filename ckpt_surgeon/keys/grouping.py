"""Which keys belong together: source patterns and target templates -> groups of inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.folding import MAX_OUTPUTS, Count, Match, Scheme, listed
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Group", "group"]

_MAX_PROBLEMS = 20  # of one rule in one error


@dataclass(frozen=True, slots=True)
class Group:
    """One application of an op: its inputs and outputs in order, and what they have in common."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    captures: Mapping[str, str]


def group(
    keys: Sequence[str],
    sources: Sequence[Pattern],
    targets: Sequence[Template],
    count: Count = lambda _: None,
    known: Collection[str] = (),
    limit: int = MAX_OUTPUTS,
    others: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Group]:
    """The groups, in the order in which `keys` first names one of their inputs.

    No targets: each key which any of the sources matches is a group of its own and stays. One source: each match is a
    group, unless one capture stands only there: it is folded, an int from 0 to n-1, alternatives in the order written.
    Several sources: the inputs, in list order. A capture written with its type which stands only in the target is
    unfolded: an int to `count(inputs)` outputs (where that is None, as many as `known` holds without a gap),
    alternatives in order. Several targets: the outputs, in list order.
    others: alias -> the keys of another source, as `alias::key`. Only patterns with this alias see them, and these see no others.

    Raises RulesError, without a place, for sources and targets which do not go together, for incomplete groups, and for
    two groups of one output.
    """
    if not targets:
        return [Group((key,), (key,), captures) for key in keys if (captures := _first_match(sources, key)) is not None]
    scheme = Scheme.of(sources, targets)
    problems: list[Problem] = []
    groups: list[Group] = []
    for members in _gathered(_matches(keys, scheme.sources, others), scheme):
        try:
            inputs = scheme.inputs(members) if scheme.has_many_inputs else (members[0].key,)
            captures = {name: value for name, value in members[0].captures.items() if name != scheme.folded}
            groups.append(Group(inputs, scheme.outputs(inputs, captures, count, known, limit), captures))
        except RulesError as error:
            problems += error.problems
    problems += _collisions(groups)
    if problems:
        raise RulesError(problems[:_MAX_PROBLEMS])
    return groups


def _first_match(sources: Sequence[Pattern], key: str) -> dict[str, str] | None:
    return next((captures for source in sources if (captures := source.match(key)) is not None), None)


def _gathered(matches: Sequence[Match], scheme: Scheme) -> Iterable[list[Match]]:
    """The matches of each group, in key order; without a fold or a list each match is its own group."""
    if not scheme.has_many_inputs:
        return ([match] for match in matches)
    groups: dict[tuple[str, ...], list[Match]] = {}
    for match in matches:
        groups.setdefault(scheme.common(match), []).append(match)
    return groups.values()


def _matches(keys: Sequence[str], sources: Sequence[Pattern], others: Mapping[str, Sequence[str]]) -> list[Match]:
    """Every match, of the main source first; a key which two of the sources match is an error."""
    numbered = list(enumerate(sources))
    found = _matched(keys, [(at, source) for at, source in numbered if source.alias not in others], sources)
    for alias, names in others.items():
        found += _matched(names, [(at, source) for at, source in numbered if source.alias == alias], sources)
    return found


def _matched(keys: Sequence[str], asked: Sequence[tuple[int, Pattern]], sources: Sequence[Pattern]) -> list[Match]:
    found: list[Match] = []
    for key in keys if asked else ():
        own = [Match(key, at, captures) for at, source in asked if (captures := source.match(key)) is not None]
        if len(own) > 1:
            texts = " and ".join(repr(sources[match.source].text) for match in own[:2])
            raise RulesError(f"{escape(key)} is matched by two sources, {texts}", hint="Each source in a list is another input.")
        found += own
    return found


def _collisions(groups: Iterable[Group]) -> list[Problem]:
    """Outputs which two groups make, or one group twice."""
    makers: dict[str, Group] = {}
    problems: list[Problem] = []
    for one in groups:
        for output in one.outputs:
            other = makers.setdefault(output, one)
            if other is not one:
                both = f"{listed(other.inputs)} and {listed(one.inputs)}"
                problems.append(Problem(f"{both} would both become {escape(output)}", hint="Put what tells them apart into the target."))
        if len(set(one.outputs)) < len(one.outputs):
            problems.append(Problem(f"{listed(one.inputs)}: two outputs of one name among {listed(one.outputs)}"))
    return problems
