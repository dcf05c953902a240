"""What `suggest` found: what is settled, what is open, and the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.report.amounts import keys_text
from ckpt_surgeon.report.entries import keys_in_short
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Code, Column, Document, Line, Page, Section, Table, Tone
from ckpt_surgeon.report.prose import one_line

if TYPE_CHECKING:
    from ckpt_surgeon.mapping.links import Family, Link
    from ckpt_surgeon.mapping.writing import Answer, Question, Suggestion

__all__ = ["SuggestionReport"]

_QUESTION = (Column("target", "code"), Column("may be", "code"), Column("op", "code"), Column("confidence", "number"), Column("why"))
_NOTHING = "(nothing: it stays new)"


@dataclass(frozen=True)
class SuggestionReport:
    """A suggestion. out: the file to which its rules went, so that the page need not hold them."""

    suggestion: Suggestion
    source: str
    target: str
    out: str | None = None
    detailed: bool = False

    def page(self) -> Page:
        """The verdict, the questions, the rules."""
        title = f"suggest {escape(self.source)} -> {escape(self.target)}"
        return Page.of(title, self._verdict(), self._remarks(), self._questions(), self._rules())

    def document(self) -> Document:
        """The JSON document `suggestion`."""
        found = self.suggestion
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "suggestion",
            "source": self.source,
            "target": self.target,
            "settled": found.is_settled,
            "confirmed": found.is_confirmed,
            "confidence": found.confidence,
            "size": found.size,
            "text": found.text,
            "families": [_family(family) for family in found.families],
            "questions": [_question(question) for question in found.questions],
            "missing": list(found.missing),
            "unused": list(found.unused),
            "remarks": list(found.remarks),
        }

    def _verdict(self) -> list[Block]:
        found = self.suggestion
        loaded = 0 if found.plan is None else len(found.plan.recipes) + len(found.plan.ties)
        wanted = loaded + len(found.open_targets) + len(found.missing)
        count = len(found.rules.rules)
        rules = f"{count} rule{'s' if count != 1 else ''}, {found.size} names and ops"
        sure = f"the least sure has a confidence of {_sure(found.confidence)}"
        tone: Tone = "good" if found.is_upheld else "bad"
        lines: list[Block] = [Line(f"{loaded} of {wanted} keys are settled: {rules}; {sure}", tone)]
        return [*lines, Line(f"wrote {escape(self.out)}")] if self.out is not None else lines

    def _remarks(self) -> list[Block]:
        found = self.suggestion
        remarks = {"new, nothing of the source is it": found.missing, "left out, no part of the target is it": found.unused}
        left = [Line(f"{title}: {keys_text(len(keys))}, {keys_in_short(keys)}", "note") for title, keys in remarks.items() if keys]
        return [*(Line(remark) for remark in found.remarks), *left]

    def _questions(self) -> list[Block]:
        questions = self.suggestion.questions
        if not questions:
            return []
        rows = tuple(row for question in questions for row in self._rows(question))
        return [Section(f"open: {keys_text(len(self.suggestion.open_targets))}", "bad"), Table(_QUESTION, rows).trimmed()]

    def _rows(self, question: Question) -> list[tuple[str, ...]]:
        """A row for each answer; the first one names the keys and the doubt."""
        rows = [("", *self._answer(answer)) for answer in question.answers]
        (_, *first), *others = rows or [("", "", "", "", "")]
        doubt = one_line("; ".join(dict.fromkeys(text for text in (first[-1], question.doubt) if text)))
        return [(self._short(question.targets), *first[:-1], doubt), *others]

    def _answer(self, answer: Answer) -> tuple[str, str, str, str]:
        ops = dict.fromkeys(link.change.op for link in answer.links if link.change is not None)
        sources = self._short([key for link in answer.links for key in link.sources]) if answer.links else _NOTHING
        return sources, " ".join(ops), _sure(answer.confidence), one_line(answer.why)

    def _short(self, keys: Sequence[str]) -> str:
        return ", ".join(map(escape, keys)) if self.detailed else keys_in_short(keys)

    def _rules(self) -> list[Block]:
        return [] if self.out is not None else [Section("rules"), Code(self.suggestion.text)]


def _sure(confidence: float) -> str:
    from ckpt_surgeon.mapping.writing.reasons import confidence_text

    return confidence_text(confidence)


def _family(family: Family) -> Document:
    return {"confidence": family.confidence, "why": family.why, "links": [_link(link) for link in family.links]}


def _question(question: Question) -> Document:
    answers = [
        {"confidence": each.confidence, "why": each.why, "links": [_link(link) for link in each.links], "rules": list(each.entries)}
        for each in question.answers
    ]
    return {"targets": list(question.targets), "doubt": question.doubt, "answers": answers}


def _link(link: Link) -> Document:
    found: dict[str, Any] = {"sources": list(link.sources), "targets": list(link.targets)}
    return found if link.change is None else {**found, "op": {"op": link.change.op, **dict(link.change.parameters)}}
