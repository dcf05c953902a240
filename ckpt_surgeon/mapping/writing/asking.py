"""Decisions which are not sure enough -> questions, and the comments of a rules file in which they stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape, fold
from ckpt_surgeon.keys.pattern import Pattern, quoted
from ckpt_surgeon.mapping.writing.changing import change_entries
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.mapping.writing.reasons import confidence_text
from ckpt_surgeon.mapping.writing.suggestion import Answer, Question
from ckpt_surgeon.mapping.writing.wholes import whole_renames
from ckpt_surgeon.rules.yaml_writer import write_yaml
from ckpt_surgeon.spec import Header

__all__ = ["asked", "comments"]

_FEW = 4  # folded names in a line
_MOST_ANSWERS = 3  # to one question; a fourth is a guess

Entry = dict[str, Any]


def asked(family: Family, names: Mapping[str, str], target: Header) -> Question:
    """The question which a decision is. names: what each key of the source is called at the end of the rules, where it is still there."""
    targets = tuple(dict.fromkeys(key for link in family.links for key in link.targets if key in target.entries))
    ways = [(family.links, family.confidence, family.why), *((each.links, each.confidence, each.why) for each in family.alternatives)]
    answers = (Answer(links, _entries(links, names, target), confidence, why) for links, confidence, why in ways[:_MOST_ANSWERS])
    return Question(targets, family.doubt or family.why, tuple(answers))


def _entries(links: Sequence[Link], names: Mapping[str, str], target: Header) -> tuple[Entry, ...]:
    """The rules which would carry the links out at the end of the file; none where they want what other rules have taken."""
    made = {key for link in links for key in link.targets}
    if any(key not in names and key not in made for link in links for key in link.sources):
        return ()
    moves, changes = {}, []
    for link in links:
        sources = tuple(names.get(key, key) for key in link.sources)
        is_single = len(sources) == len(link.targets) == 1
        if is_single:
            moves[sources[0]] = link.targets[0]
        if link.change is not None:
            changes.append(replace(link, sources=link.targets if is_single else sources))
    table = [*(moves.get(name, name) for name in names.values()), *moves.values()]
    try:
        return (*_renames(moves, names.values()), *change_entries(changes, table, target))
    except RulesError:
        return ()


def _renames(moves: Mapping[str, str], table: Collection[str]) -> Iterator[Entry]:
    if all(key == place for key, place in moves.items()):
        return
    others = [name for name in table if name not in moves]
    for pairs in whole_renames(moves):
        patterns = [Pattern.parse(text) for text in pairs]
        if any(pattern.match(name) is not None for pattern in patterns for name in others):
            yield {"rename": {quoted(key): place for key, place in moves.items() if key != place}}
            return
        yield {"rename": pairs}


def comments(questions: Sequence[Question]) -> list[str]:
    """The questions as lines of comments for the end of a list of rules: two signs before prose, one before what may become a rule."""
    lines: list[str] = []
    for number, question in enumerate(questions, 1):
        lines += ["", f"  ## question {number}: {_folded(question.targets)}" + (f": {question.doubt}" if question.doubt else "")]
        for answer in question.answers:
            lines += _answer(answer)
    return [line.rstrip() if line.isprintable() else escape(line, limit=1000) for line in lines]


def _answer(answer: Answer) -> Iterator[str]:
    why = f", {answer.why}" if answer.why else ""
    if not answer.links:
        yield f"  ## {confidence_text(answer.confidence)}{why}: nothing of the source is it; allow it to be missing"
        return
    sources = _folded([key for link in answer.links for key in link.sources])
    yield f"  ## {confidence_text(answer.confidence)}{why}: from {sources}"
    for line in write_yaml([*answer.entries]).splitlines() if answer.entries else ():
        yield f"  # {line}"


def _folded(keys: Sequence[str]) -> str:
    blocks = fold(keys)
    shown = ", ".join(f"{escape(text)} x{count}" if count > 1 else escape(text) for text, count in blocks[:_FEW])
    return f"{shown} and {len(blocks) - _FEW} more" if len(blocks) > _FEW else shown
