"""The library's one-liners: each reads headers, makes a plan or a diff of them, and says no more than was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.garbage import uncollected
from ckpt_surgeon.sources import Progress, allowing, header_of, rules_of
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Diff
    from ckpt_surgeon.planning import Plan

__all__ = ["diff", "inspect", "plan"]


def inspect(path: Any, *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Header:
    """The header of a checkpoint (or of a model): an ordered table key -> TensorSpec. No weight is read.

    path: whatever `sources.open_source` takes. progress: called with (bytes done, bytes in all) while a URL is fetched.
    Raises DiskError, CorruptError, UnsafeError, LimitError, ModelError.
    """
    return header_of(path, arguments=arguments, progress=progress)


def diff(
    source: Any,
    target: Any,
    rules: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Diff:
    """What stands between a source and a target, before any load, by headers alone; with rules: after them.

    progress: as of `inspect`. Raises what `inspect` raises, and RulesError. Differences are the answer, not an error.
    """
    from ckpt_surgeon.comparison import compare

    wanted = header_of(target, arguments=arguments, progress=progress)
    given = header_of(source, arguments=arguments, progress=progress)
    known = rules_of(rules).allowing(allowing(allow_missing, allow_unexpected))
    new: tuple[str, ...] = ()
    if known.rules:
        from ckpt_surgeon.planning import rewrite

        draft = rewrite(known, given, wanted, variables=variables)
        given, new = draft.header, draft.new
    return compare(given, wanted, allow_missing=known.allow.missing, allow_unexpected=known.allow.unexpected, new=new)


def plan(
    source: Any,
    rules: Any = None,
    target: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    require_coverage: float | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The whole surgery as a value, from headers alone; `write` carries it out.

    rules: a path, a document (dict), a list of rules, or Rules; None is a conversion. Without a target, untouched keys
    pass through. Raises what `inspect` raises, RulesError, CoverageError and NothingLoadedError (see `make_plan`).
    """
    from ckpt_surgeon.planning import make_plan

    known = rules_of(rules)
    given_header = header_of(source, arguments=arguments, progress=progress)
    wanted = None if target is None else header_of(target, arguments=arguments, progress=progress)
    allow = allowing(allow_missing, allow_unexpected)
    with uncollected():
        made = make_plan(known, given_header, wanted, variables=variables, allow=allow, require_coverage=require_coverage)
    given = None if isinstance(source, Header) else source
    return replace(made, given_source=given, given_target=target, arguments=dict(arguments or {}))
