"""The library's one-liners: each reads headers, makes a plan or a diff of them, and says no more than was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.garbage import uncollected
from ckpt_surgeon.sources import Progress, allowing, header_of, headers_of, open_source, others_of, require_values, rules_of
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    from ckpt_surgeon.comparison import Diff, Digests
    from ckpt_surgeon.formats.protocol import Reader
    from ckpt_surgeon.mapping.writing import Suggestion
    from ckpt_surgeon.planning import Plan
    from ckpt_surgeon.planning.optimizer import OptimizerMode, Optimizers
    from ckpt_surgeon.probing import Probe
    from ckpt_surgeon.rules.rule import Rules

__all__ = ["diff", "digest", "inspect", "invert", "plan", "suggest", "suggestion"]

_MOST_MATCHED = 2000  # keys of both headers which a diff matches unasked; they take a second


def inspect(path: Any, *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Header:
    """The header of a checkpoint (or of a model): an ordered table key -> TensorSpec. No weight is read.

    path: whatever `sources.open_source` takes. progress: called with (bytes done, bytes in all) while a URL is fetched.
    Raises DiskError, CorruptError, UnsafeError, LimitError, ModelError.
    """
    return header_of(path, arguments=arguments, progress=progress)


def digest(
    path: Any, algorithm: str = "sha256", *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> Digests:
    """A digest of each tensor and of the whole, as `write(plan, out, digest=algorithm)` takes them; every weight is read once.

    algorithm: `sha256`, or `blake3` where it is installed. progress: as of `inspect`; then called with (bytes read, bytes in all).
    Raises what `inspect` and reading raise, ModelError for a model without values, SurgeryError for an algorithm which is not there.
    """
    from ckpt_surgeon.digests import digests_of

    with open_source(path, arguments=arguments, progress=progress) as reader:
        require_values(reader, "checkpoint")
        return digests_of(reader, algorithm, progress)


def diff(
    source: Any,
    target: Any,
    rules: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    values: bool = False,
    suggest: bool = False,
    sources: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Diff:
    """What stands between a source and a target, before any load, by headers alone; with rules: after them.

    values: compare the values of the tensors which match, too, a piece at a time; see `Diff.values`. sources: as of `plan`.
    suggest: where names differ, there are no rules and few keys, count those of which `suggest` would be sure; see `Diff.suggested`.
    progress: as of `inspect`; of values, called with (bytes compared, bytes in all). Raises what `inspect` raises, RulesError, and
    ModelError for values of a model which has none. Differences are the answer, not an error.
    """
    from ckpt_surgeon.comparison import compare

    opened = partial(_opened, needs_values=values, arguments=arguments, progress=progress)
    with opened(target, "target") as wanted, opened(source, "source") as given:
        known = rules_of(rules).allowing(allowing(allow_missing, allow_unexpected))
        header, allow = given.header, known.allow
        new: tuple[str, ...] = ()
        if known.rules or values:
            from ckpt_surgeon.planning import rewrite

            others = others_of(known, sources)
            draft = rewrite(known, given.header, wanted.header, variables=variables, others=headers_of(others, progress=progress))
        if known.rules:
            header, new = draft.header, draft.new
        found = compare(header, wanted.header, allow_missing=allow.missing, allow_unexpected=allow.unexpected, new=new)
        if suggest and not known.rules and _is_puzzling(found) and len(header) + len(wanted.header) <= _MOST_MATCHED:
            found = replace(found, suggested=_settled(header, wanted.header))
        if not values:
            return found
        from ckpt_surgeon.distance import compare_values
        from ckpt_surgeon.readers import open_others

        with open_others(others, draft.others) as readers:
            return replace(found, values=compare_values(found, draft, {"": given, **readers}, wanted, progress))


def _is_puzzling(found: Diff) -> bool:
    """Whether names differ on both sides in more than wrappers."""
    explained = found.wrappers.matches if found.wrappers else 0
    return bool(found.unexpected) and len(found.missing) > explained


def _settled(source: Header, target: Header) -> int:
    from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
    from ckpt_surgeon.mapping.matching import match

    sure = [family for family in match(source, target).families if family.confidence >= MIN_CONFIDENCE]
    return len({key for family in sure for link in family.links for key in link.targets if key in target.entries})


def _opened(given: Any, role: str, *, needs_values: bool, arguments: Mapping[str, Any] | None, progress: Progress | None) -> Reader:
    reader = open_source(given, arguments=arguments, progress=progress)
    if needs_values:
        require_values(reader, role)
    return reader


def plan(
    source: Any,
    rules: Any = None,
    target: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    require_coverage: float | None = None,
    optimizer: OptimizerMode = "follow",
    sources: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    reader: Reader | None = None,
    once: bool = False,
) -> Plan:
    """The whole surgery as a value, from headers alone; `write` carries it out.

    rules: a path, a document (dict), a list of rules, or Rules; None is a conversion. Without a target, untouched keys
    pass through. optimizer: `follow`, `reset` or `drop` the optimizer's state beside the weights; see `Plan.optimizer`.
    sources: alias -> another source, as rules name it (`alias::pattern`); it overrides what the rules declare.
    reader: the source, where it is open already, so that a large header is not read twice; `write` takes it, too.
    once: refuse a source which bears the digest of these rules already; else it is noted.
    Raises what `inspect` raises, RulesError, CoverageError and NothingLoadedError (see `make_plan`);
    SurgeryError for rules which are not to run a second time.
    """
    from ckpt_surgeon.planning import make_plan

    known = rules_of(rules)
    others = others_of(known, sources)
    opened = open_source(source, arguments=arguments, progress=progress) if reader is None else nullcontext(reader)
    with opened as given_reader:
        wanted = None if target is None else header_of(target, arguments=arguments, progress=progress)
        demands: dict[str, Any] = {"allow": allowing(allow_missing, allow_unexpected), "require_coverage": require_coverage}
        demands["others"] = headers_of(others, progress=progress)
        with uncollected():
            optimizers = _optimizers(given_reader, optimizer)
            made = make_plan(known, given_reader.header, wanted, variables=variables, **demands, optimizers=optimizers)
    if once and made.is_repeated:
        from ckpt_surgeon.planning.stamping import REPEATED

        raise SurgeryError(REPEATED, hint="it is the output of an earlier run; leave out --once (`once`) to run them again")
    given = None if isinstance(source, Header) else source
    return replace(made, given_source=given, given_target=target, given_others=others, arguments=dict(arguments or {}))


def invert(
    source: Any,
    rules: Any,
    target: Any = None,
    variables: Mapping[str, Any] | None = None,
    *,
    allow_missing: Iterable[str] = (),
    allow_unexpected: Iterable[str] = (),
    sources: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Rules:
    """The rules which undo `rules` on the keys of this source, from headers alone; proven to lead back to its keys, specs and ties.

    They are made for the output of `plan(source, rules, target, variables)` and need neither a target nor other sources: what was
    taken of these is left out. The arguments are those of `plan`.
    Raises InverseError with every rule and key which cannot be undone bit for bit, and what `plan` raises.
    """
    from ckpt_surgeon.inversion import invert_plan

    allowed: dict[str, Any] = {"allow_missing": allow_missing, "allow_unexpected": allow_unexpected}
    made = plan(source, rules, target, variables, **allowed, sources=sources, arguments=arguments, progress=progress)
    with uncollected():
        return invert_plan(made)


def suggest(
    source: Any,
    target: Any,
    *,
    min_confidence: float | None = None,
    probe: Probe | None = None,
    values: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> Rules:
    """The rules which take the keys of a source to those of a target, found in the two headers, and further on request; see `suggestion`.

    What is not sure is left out, so that a plan of these rules names it as missing. Raises what `suggestion` raises.
    """
    return suggestion(source, target, min_confidence=min_confidence, probe=probe, values=values, arguments=arguments).rules


def suggestion(
    source: Any,
    target: Any,
    *,
    min_confidence: float | None = None,
    probe: Probe | None = None,
    values: bool = False,
    arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Suggestion:
    """The same with all that is to be said about it: how sure each decision is, what is open, and the text of a rules file.

    min_confidence: 0 to 1; a decision which is less sure becomes a question. Left out, what keeps 995 of 1000 keys right.
    probe: both models are run on the same input, and their outputs settle what headers leave open. values: the values of what is open
    do, those of a target as it was built included. progress: as of `inspect`.
    Raises what `inspect` raises, SurgeryError for a confidence out of range, ModelError where a model cannot be run, or has no values.
    """
    from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
    from ckpt_surgeon.mapping.matching import match
    from ckpt_surgeon.mapping.writing import written

    least = MIN_CONFIDENCE if min_confidence is None else min_confidence
    if not 0 <= least <= 1:
        raise SurgeryError(f"min_confidence is {least}; from 0 to 1 is allowed")
    wanted = header_of(target, arguments=arguments, progress=progress)
    given = header_of(source, arguments=arguments, progress=progress)
    if probe is None and not values:
        with uncollected():
            return written(match(given, wanted), given, wanted, least)
    from ckpt_surgeon.probing import examined

    evidence: dict[str, Any] = {"probe": probe, "values": values, "arguments": arguments, "progress": progress}
    found = examined(source, target, (given, wanted), least, **evidence)
    return replace(written(found.mapping, given, wanted, least), remarks=found.remarks, is_confirmed=found.is_confirmed)


def _optimizers(reader: Reader, mode: OptimizerMode) -> Optimizers:
    """What becomes of the source's optimizers, and what they hold, which is asked for where they have to follow."""
    from ckpt_surgeon.planning.optimizer import Optimizers

    if not reader.header.envelope.optimizers:
        return Optimizers(mode)
    from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint

    if not isinstance(reader, TorchCheckpoint):
        return Optimizers(mode)
    return Optimizers(mode, reader.optimizer_states, reader.names_optimized, reader.optimizer_number)
