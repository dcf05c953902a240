"""Mapping x two headers -> Suggestion: what is sure as rules, proven by their plan; what is not as questions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from ckpt_surgeon.comparison import fills_itself
from ckpt_surgeon.errors import CoverageError, RulesError, SurgeryError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.syntax import MAX_LENGTH
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link, Mapping
from ckpt_surgeon.mapping.writing.asking import Ending, asked, comments
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.entries import Entry, entries_of, is_writable, one_or_many
from ckpt_surgeon.mapping.writing.leftovers import left_over
from ckpt_surgeon.mapping.writing.proving import differing, proof, refused, touched, wanted_recipes
from ckpt_surgeon.mapping.writing.reasons import with_reasons
from ckpt_surgeon.mapping.writing.suggestion import Suggestion
from ckpt_surgeon.planning import Plan, Recipe
from ckpt_surgeon.rules.reader import as_rules, parse_rules
from ckpt_surgeon.rules.rendering import document_text
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["written"]

_NAME = "suggested rules"
_LONGEST = MAX_LENGTH // 2  # characters of a key: with a prefix and wildcards it still is a pattern
_WAITING = "open: left out until the questions above are answered; then delete this rule"


@dataclass(frozen=True, slots=True)
class _Draft:
    """Entries, those which stand after the questions, the plan which they make, and what the source's other keys are called at the end."""

    entries: tuple[Entry, ...]
    last: tuple[Entry, ...]
    plan: Plan | None
    names: dict[str, str]


def written(mapping: Mapping, source: Header, target: Header, min_confidence: float) -> Suggestion:
    """The rules for every decision which is at least so sure, and questions for the others.

    What no rule can carry out, or what a plan would not make of the rules, is a question, too: a suggestion is what will happen.
    Raises RulesError for a key which is too long for any rule.
    """
    _require_names(source, target)
    families = [_checked(family, source, target) for family in mapping.families]
    settled = _once(family for family in families if family.confidence >= min_confidence)
    draft, settled = _proven(settled, families, source, target)
    wanted = wanted_recipes(_links(settled), source, target)
    waiting = _without(families, settled)
    questions = asked(waiting, Ending(draft.names, wanted, target))
    missing = tuple(_missing(wanted, {key for question in questions for key in question.targets}, target))
    unused = tuple(_unused({key for link in _links(settled) for key in link.sources}, waiting, source))
    left = left_over(missing, unused, source, target, is_empty=not families)
    if left is not None:
        asked_about = set(left.targets)
        questions, missing = (*questions, left), tuple(key for key in missing if key not in asked_about)
    parts = list(touched(draft.plan))[: len(draft.entries)] if draft.plan else [set() for _ in draft.entries]
    document = {"rules": with_reasons(draft.entries, parts, settled), **_allowed(missing, wanted, target)}
    text = document_text(document, comments(questions), draft.last)
    return Suggestion(parse_rules(text, _NAME), text, draft.plan, settled, questions, missing, unused)


def _require_names(*headers: Header) -> None:
    """Raises RulesError for a key which no pattern and no template can hold, not even with a wildcard behind it."""
    for key in (key for header in headers for key in header.entries if len(key) > _LONGEST):
        raise RulesError(f"{escape(key)} has {len(key)} characters; rules are suggested for keys of at most {_LONGEST}")


def _checked(family: Family, source: Header, target: Header) -> Family:
    """The family; without any confidence where no rule can carry its links out."""
    why = refused(family.links, source, target)
    if not why and not all(map(is_writable, family.links)):
        why = "its names are empty or hold braces or stars, which no rule can write"
    return replace(family, confidence=0.0, doubt=why) if why else family


def _once(families: Iterable[Family]) -> tuple[Family, ...]:
    """The families, the surest first where two make one key: the other is left out."""
    makers: dict[str, Family] = {}
    chosen = list(families)
    for family in sorted(chosen, key=lambda family: -family.confidence):
        for key in {key for link in family.links for key in link.targets}:
            makers.setdefault(key, family)
    return tuple(family for family in chosen if all(makers[key] is family for link in family.links for key in link.targets))


def _without(families: Iterable[Family], others: Iterable[Family]) -> list[Family]:
    """The families which are none of the others; they are told apart as things, for comparing all their links takes long."""
    known = set(map(id, others))
    return [family for family in families if id(family) not in known]


def _links(families: Sequence[Family]) -> list[Link]:
    return [link for family in families for link in family.links]


def _proven(settled: tuple[Family, ...], families: Sequence[Family], source: Header, target: Header) -> tuple[_Draft, tuple[Family, ...]]:
    """A draft whose plan gives each target key what the settled links say, and those which are left of them."""
    literal: set[str] = set()
    while True:
        wanted = wanted_recipes(_links(settled), source, target)
        draft = _drafted(settled, families, source, target, wanted, literal)
        wrong = set(wanted) if draft is None else set(differing(draft.plan, wanted)) if draft.plan else set()
        if draft is not None and not wrong:
            return draft, settled
        failed = [family for family in settled if any(key in wrong for link in family.links for key in link.targets)]
        keys = {key for link in _links(failed) for key in link.sources}
        if keys <= literal:  # not even key by key
            settled = tuple(_without(settled, failed))
        if not failed:
            raise SurgeryError("no rules were found which do what the mapping says and nothing else")
        literal |= keys


def _drafted(
    settled: Sequence[Family],
    families: Sequence[Family],
    source: Header,
    target: Header,
    wanted: Collection[str],
    literal: Collection[str],
) -> _Draft | None:
    """Entries and their plan; None where they make none. What the target would take though nobody decided it is left out at the end."""
    links = _links(settled)
    used = {key for link in links for key in link.sources}
    try:
        made = entries_of(links, _unused(used, _without(families, settled), source), source, target, literal=literal)
        names = {key: name for key, name in made.names.items() if key not in used}
        waiting = [name for name in names.values() if name in target.entries and name not in wanted]
        patterns = covering(waiting, [*names.values(), *wanted])
        last = ({"drop": one_or_many(patterns), "expect": "any", "why": _WAITING},) if patterns else ()
        rules = as_rules({"version": 1, "rules": [*made.entries, *last]})
        plan = proof(rules, source, target) if wanted else None
    except (RulesError, CoverageError):
        return None
    return _Draft(made.entries, last, plan, names)


def _unused(used: Collection[str], waiting: Iterable[Family], source: Header) -> list[str]:
    """The source keys which are not used, nor by any way of the decisions which wait for an answer."""
    ways = [links for family in waiting for links in (family.links, *(each.links for each in family.alternatives))]
    asked_for = {key for links in ways for link in links for key in link.sources}
    return [key for key in source.entries if key not in used and key not in asked_for]


def _missing(wanted: Collection[str], waiting: Collection[str], target: Header) -> Iterator[str]:
    """The target keys which nothing is to fill, nor torch itself, nor a tie to a key which is filled."""
    filled = {target.canonical(key) for key in wanted}
    for key in target.entries:
        is_open = key not in wanted and key not in waiting and target.canonical(key) not in filled
        if is_open and not fills_itself(key, target, wanted):
            yield key


def _allowed(missing: Sequence[str], wanted: dict[str, Recipe], target: Header) -> dict[str, dict[str, list[str]]]:
    """What the rules have to allow."""
    narrowed = [key for key, recipe in wanted.items() if _is_narrowed(recipe, target.entries[key])]
    allowed = {"missing": list(covering(missing, target.entries)), "casts": list(covering(narrowed, target.entries))}
    found = {word: patterns for word, patterns in allowed.items() if patterns}
    return {"allow": found} if found else {}


def _is_narrowed(recipe: Recipe, wanted: object) -> bool:
    return isinstance(recipe.spec, TensorSpec) and isinstance(wanted, TensorSpec) and not wanted.dtype.holds(recipe.spec.dtype)
