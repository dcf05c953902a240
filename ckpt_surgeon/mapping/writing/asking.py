"""Decisions which are not sure enough -> questions, and the comments of a rules file in which they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.keys.pattern import quoted
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.mapping.writing.changing import change_entries
from ckpt_surgeon.mapping.writing.covering import covering
from ckpt_surgeon.mapping.writing.entries import Entry, entry_of, one_or_many
from ckpt_surgeon.mapping.writing.naming import Naming, name_ops
from ckpt_surgeon.mapping.writing.pooling import pooled
from ckpt_surgeon.mapping.writing.reasons import confidence_text
from ckpt_surgeon.mapping.writing.suggestion import Answer, Question
from ckpt_surgeon.mapping.writing.wholes import plain_pairs
from ckpt_surgeon.rules.yaml_writer import write_yaml
from ckpt_surgeon.spec import Header

__all__ = ["Ending", "asked", "comments", "folded"]

_FEW = 4  # folded names in a line
_MOST_ANSWERS = 3  # to one question; a fourth is a guess
_MOST_NAMES = 30_000  # which the best way to say answers is looked for in, over all questions; more are said by numbers alone


@dataclass(frozen=True, slots=True)
class Ending:
    """The table in which the rules end. names: what each key of the source is called there which no rule has taken; made: the others."""

    names: Mapping[str, str]
    made: Collection[str]
    target: Header


def asked(families: Iterable[Family], ending: Ending) -> tuple[Question, ...]:
    """The questions which open decisions are."""
    joined = pooled(families)
    is_large = len(joined) * (len(ending.names) + len(ending.made)) > _MOST_NAMES
    claims = Counter(key for family in joined for key in _claimed(family))
    return tuple(_question(family, ending, claims, is_large=is_large) for family in joined)


def _claimed(family: Family) -> dict[str, None]:
    """Every source key which one of its ways takes."""
    ways = (family.links, *(each.links for each in family.alternatives))
    return {key: None for links in ways for link in links for key in link.sources}


def _question(family: Family, ending: Ending, claims: Mapping[str, int], *, is_large: bool) -> Question:
    targets = tuple(dict.fromkeys(key for link in family.links for key in link.targets if key in ending.target.entries))
    ways = [(family.links, family.confidence, family.why), *((each.links, each.confidence, each.why) for each in family.alternatives)]
    own = [key for key in _claimed(family) if claims[key] == 1 and key in ending.names]
    answers = []
    for links, confidence, why in ways[:_MOST_ANSWERS]:
        entries = (*_dropping(links, own, ending, is_large=is_large), *_entries(links, frozenset(own), ending, is_large=is_large))
        answers.append(Answer(links, entries, confidence, why))
    return Question(targets, family.doubt or family.why, tuple(answers))


def _dropping(links: Sequence[Link], own: Sequence[str], ending: Ending, *, is_large: bool) -> Iterator[Entry]:
    """What leaves out the keys which are of no use when the question is answered so."""
    used = {key for link in links for key in link.sources}
    rest = [ending.names[key] for key in own if key not in used]
    if rest:
        patterns = [quoted(name) for name in rest] if is_large else covering(rest, [*ending.names.values(), *ending.made])
        yield {"drop": one_or_many(patterns)}


def _entries(links: Sequence[Link], gone: Collection[str], ending: Ending, *, is_large: bool) -> tuple[Entry, ...]:
    """The rules which would carry the links out at the end of the file; none where they want what other rules have taken.

    gone: source keys which are left out if the links do not take them. Whatever else is in the table keeps its name.
    """
    made = {key for link in links for key in link.targets}
    if any(key not in ending.names and key not in made for link in links for key in link.sources):
        return ()
    gone = set(gone).difference(key for link in links for key in link.sources)
    moves: dict[str, str] = {}
    changes: list[Link] = []
    for link in links:
        sources = tuple(ending.names.get(key, key) for key in link.sources)
        is_single = len(sources) == len(link.targets) == 1
        if is_single and link.sources[0] in ending.names:
            moves[sources[0]] = link.targets[0]
            sources = link.targets
        if link.change is not None:
            changes.append(replace(link, sources=sources))
    try:
        staying = [*ending.made, *(name for key, name in ending.names.items() if name not in moves and key not in gone)]
        naming = Naming({**{name: name for name in staying}, **moves}, (), ending.target.entries)
        renames = [{"rename": plain_pairs(moves)}] if is_large else [entry_of(op) for op in name_ops(naming)]
        return (*(each for each in renames if each != {"rename": {}}), *change_entries(changes, [*staying, *moves.values()], ending.target))
    except RulesError:
        return ()


def comments(questions: Sequence[Question]) -> list[str]:
    """The questions as lines of comments for the end of a list of rules: two signs before prose, one before what may become a rule."""
    lines: list[str] = []
    for number, question in enumerate(questions, 1):
        lines += ["", f"  ## question {number}: {folded(question.targets)}" + (f": {question.doubt}" if question.doubt else "")]
        for answer in question.answers:
            lines += _answer(answer)
    return [line.rstrip() if line.isprintable() else escape(line, limit=1000) for line in lines]


def _answer(answer: Answer) -> Iterator[str]:
    why = f", {answer.why}" if answer.why else ""
    if not answer.links:
        yield f"  ## {confidence_text(answer.confidence)}{why}: nothing of the source is it; allow it to be missing"
        return
    made = {key for link in answer.links for key in link.targets if key not in link.sources}
    sources = folded([key for link in answer.links for key in link.sources if key not in made])
    yield f"  ## {confidence_text(answer.confidence)}{why}: from {sources}"
    for line in write_yaml([*answer.entries]).splitlines() if answer.entries else ():
        yield f"  # {line}"


def folded(keys: Sequence[str]) -> str:
    """The first few of the keys, repetitions as one, and how many more there are."""
    blocks = fold(keys)
    shown = ", ".join(f"{escape(text)} x{count}" if count > 1 else escape(text) for text, count in blocks[:_FEW])
    return f"{shown} and {len(blocks) - _FEW} more" if len(blocks) > _FEW else shown
