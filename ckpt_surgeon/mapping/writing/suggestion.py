"""Suggestion: the rules which a mapping comes to, as values and as a text, and what is left to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.planning import Plan
from ckpt_surgeon.rules.rule import Rules

__all__ = ["Answer", "Question", "Suggestion"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One way to answer a question: links, the entries of a rules file which say them, and how likely they are."""

    links: tuple[Link, ...]
    entries: tuple[dict[str, Any], ...]
    confidence: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What is not sure enough to be a rule. doubt: what names and shapes cannot settle. answers: the likeliest first."""

    targets: tuple[str, ...]
    doubt: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Suggestion:
    """Rules which were proven by their plan, and what stands open.

    text: the rules file, with the questions as comments. plan: what the rules make of the source; None where nothing is settled.
    families: the decisions which are rules. missing: target keys which nothing is to fill; unused: source keys which are left out.
    remarks: what evidence beyond the headers says of the whole. is_confirmed: whether runs of both models give equal outputs; None
    where none were asked for, or new parts keep outputs from being compared.
    """

    rules: Rules
    text: str
    plan: Plan | None
    families: tuple[Family, ...]
    questions: tuple[Question, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    is_confirmed: bool | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to ask."""
        return not self.questions

    @property
    def is_upheld(self) -> bool:
        """Whether nothing is left to ask, and no run of both models, if there was one, gave other outputs."""
        return self.is_settled and self.is_confirmed is not False

    @property
    def confidence(self) -> float:
        """The least of any decision which became a rule; 1.0 where there is none."""
        return min((family.confidence for family in self.families), default=1.0)

    @property
    def open_targets(self) -> tuple[str, ...]:
        """The target keys which the questions are about."""
        return tuple(dict.fromkeys(key for question in self.questions for key in question.targets))

    @property
    def size(self) -> int:
        """Pairs of names, and rules which hold none."""
        return sum(_size(rule.op) for rule in self.rules.rules)


def _size(op: object) -> int:
    pairs: Sequence[object] | None = getattr(op, "pairs", None)
    return 1 if pairs is None else len(pairs)
