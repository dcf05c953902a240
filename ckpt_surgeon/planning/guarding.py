"""Guards on a plan: those which headers can tell are checked here; of those which need values, the keys are found. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch

from ckpt_surgeon.comparison import coverage_of
from ckpt_surgeon.errors import CoverageError, Problem
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import matching
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.planning.recipe import Plan
from ckpt_surgeon.planning.table import listed
from ckpt_surgeon.rules.guards import CountGuard, CoverageGuard, DtypeGuard, EqualGuard, FiniteGuard, Guard, ShapeGuard
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["check_guards", "equal_groups", "finite_keys"]

_MOST_LISTED = 5


def check_guards(guards: Sequence[Guard], plan: Plan) -> None:
    """CoverageError with every guard which does not hold on a plan's output, each at its place in the rules file."""
    problems = [
        Problem(f"{guard.word}: {what}", guard.where, "the plan is not what `assert` says: nothing is written")
        for guard in guards
        for what in _failures(guard, plan)
    ]
    if problems:
        raise CoverageError(problems)


def finite_keys(guard: FiniteGuard, plan: Plan) -> list[str]:
    """The keys of the output which a guard wants to be finite."""
    return matching(guard.match, plan.header.tensors)


def equal_groups(guard: EqualGuard, plan: Plan) -> list[tuple[str, ...]]:
    """The keys of the output which a guard wants to be equal; only groups which are complete."""
    return [group for group in _groups(guard, plan) if len(group) == len(guard.source)]


def _groups(guard: EqualGuard, plan: Plan) -> list[tuple[str, ...]]:
    """The keys which captured the same, one of each pattern, where it is there."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for pattern in guard.source:
        for key in plan.header.tensors:
            captures = pattern.match(key)
            if captures is not None:
                groups.setdefault(tuple(sorted(captures.items())), []).append(key)
    return [tuple(keys) for keys in groups.values()]


@singledispatch
def _failures(guard: Guard, plan: Plan) -> Iterator[str]:
    """What of a plan is not as the guard says, a sentence each."""
    raise TypeError(guard)


@_failures.register
def _of_count(guard: CountGuard, plan: Plan) -> Iterator[str]:
    keys = matching(guard.match, plan.header.entries)
    count = len(keys)
    for bound, holds, word in (
        (guard.equals, count == guard.equals, ""),
        (guard.at_least, count >= (guard.at_least or 0), "at least "),
        (guard.at_most, guard.at_most is None or count <= guard.at_most, "at most "),
    ):
        if bound is not None and not holds:
            yield f"{word}{bound} wanted of {_named(guard.match)}, found {count}{': ' + listed(keys) if keys else ''}"


@_failures.register
def _of_shape(guard: ShapeGuard, plan: Plan) -> Iterator[str]:
    wanted = "[" + ", ".join("null" if size is None else str(size) for size in guard.shape) + "]"
    yield from _unlike(guard.match, plan, lambda spec: _has_shape(spec, guard.shape), wanted)


def _has_shape(spec: TensorSpec, shape: tuple[int | None, ...]) -> bool:
    return len(spec.shape) == len(shape) and all(want in (None, size) for size, want in zip(spec.shape, shape, strict=True))


@_failures.register
def _of_dtype(guard: DtypeGuard, plan: Plan) -> Iterator[str]:
    yield from _unlike(guard.match, plan, lambda spec: spec.dtype.name in guard.dtypes, " or ".join(guard.dtypes))


@_failures.register
def _of_coverage(guard: CoverageGuard, plan: Plan) -> Iterator[str]:
    if plan.target is None:
        yield "coverage is of a target, and there is none (--target)"
        return
    keys = matching(guard.match, plan.target.entries)
    if not keys:
        yield f"no key of the target matches {_named(guard.match)}"
        return
    aliases = {key: first for key, first in plan.target.aliases.items() if key in keys and first in keys}
    wanted = Header({key: plan.target.entries[key] for key in keys}, aliases=aliases)
    share = coverage_of(wanted, [*plan.outcome.loaded, *plan.filled]).by_elements
    if share < guard.at_least:
        yield f"{share:.4f} of the elements of {_named(guard.match)} read a source, at least {guard.at_least} is wanted"


@_failures.register
def _of_equal(guard: EqualGuard, plan: Plan) -> Iterator[str]:
    groups = _groups(guard, plan)
    if not groups:
        yield f"no key matches {_named(guard.source)}"
    for group in groups:
        specs = [plan.header.tensors[key] for key in group]
        if len(group) != len(guard.source):
            yield f"{listed(list(group))}: {len(group)} instead of {len(guard.source)} tensors to compare"
        elif any(spec != specs[0] for spec in specs):
            yield f"{', '.join(f'{escape(key)} {spec}' for key, spec in zip(group, specs, strict=True))} are not alike"


@_failures.register
def _of_finite(guard: FiniteGuard, plan: Plan) -> Iterator[str]:
    if not finite_keys(guard, plan):
        yield f"no key matches {_named(guard.match)}"


def _unlike(match: Sequence[Pattern], plan: Plan, holds: Callable[[TensorSpec], bool], wanted: str) -> Iterator[str]:
    """The matching keys which are not as wanted; that nothing matches is not as wanted either."""
    keys = matching(match, plan.header.entries)
    if not keys:
        yield f"no key matches {_named(match)}"
    entries = [(key, plan.header.entries[key]) for key in keys]
    wrong = [f"{escape(key)} is {spec}" for key, spec in entries if not (isinstance(spec, TensorSpec) and holds(spec))]
    if wrong:
        more = f" and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
        yield f"{wanted} wanted; {', '.join(wrong[:_MOST_LISTED])}{more}"


def _named(patterns: Sequence[Pattern]) -> str:
    return listed([pattern.text for pattern in patterns], lambda text: repr(escape(text)))
