"""One key's way through the rules as a report: `explain`."""

from __future__ import annotations

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning import Explanation
from ckpt_surgeon.report.entries import entry_document
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table
from ckpt_surgeon.report.prose import one_line
from ckpt_surgeon.report.recipes import ops_text, recipe_document

__all__ = ["ExplanationReport"]

_COLUMNS = (Column("rule", "code"), Column("op", "code"), Column("takes", "code"), Column("gives", "code"), Column("why"))
_MOST_KEYS = 8  # of one rule's inputs or outputs in a cell


@dataclass(frozen=True)
class ExplanationReport:
    """A target's key back to its sources, or a source's key forward to its targets."""

    explanation: Explanation

    def page(self) -> Page:
        """What the key is, each rule which touched it, and the other end."""
        found = self.explanation
        return Page.of(f"explain {escape(found.key)}", self._subject(), self._passages(), self._ends())

    def document(self) -> Document:
        """The JSON document `explanation`."""
        found = self.explanation
        passages = [
            {"where": each.where, "op": each.op, "why": each.why, "inputs": list(each.inputs), "outputs": list(each.outputs)}
            for each in found.passages
        ]
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "explanation",
            "key": found.key,
            "side": found.side,
            "entry": None if found.entry is None else entry_document(found.entry),
            "passages": passages,
            "ends": list(found.ends),
            "recipe": None if found.side == "source" else recipe_document(found.recipe, found.classification),
            "reason": found.reason,
        }

    def _subject(self) -> list[Block]:
        found = self.explanation
        is_a = "" if found.entry is None else f" {escape(str(found.entry))}"
        verdict = f": {found.classification}" if found.classification else ""
        lines: list[Block] = [Line(f"{found.side} key {escape(found.key)}{is_a}{verdict}")]
        ops = ops_text(found.recipe) if found.recipe is not None else ""
        lines += [Line(f"computed by {ops}")] if ops else []
        return lines + ([Line(one_line(found.reason), "note")] if found.reason else [])

    def _passages(self) -> list[Block]:
        rows = tuple(
            (escape(each.where), each.op, _listed(each.inputs), _listed(each.outputs), one_line(each.why))
            for each in self.explanation.passages
        )
        return [Section("rules"), Table(_COLUMNS, rows).trimmed()] if rows else [Line("no rule touches it")]

    def _ends(self) -> list[Block]:
        found = self.explanation
        title = "from" if found.side == "target" else "to"
        rows = tuple((escape(key),) for key in found.ends)
        other = "source" if found.side == "target" else "target"
        return [Section(title), Table((Column(f"{other} key", "code"),), rows)] if rows else [Line(f"no {other} key", "note")]


def _listed(keys: tuple[str, ...]) -> str:
    shown = ", ".join(map(escape, keys[:_MOST_KEYS]))
    return f"{shown} and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else shown or "(nothing)"
