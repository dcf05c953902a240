"""An outcome as a report: what was written, or what a verification came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckpt_surgeon.comparison import Outcome
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.optimizer_plan import OptimizerPlan
from ckpt_surgeon.planning.recipe import Plan
from ckpt_surgeon.report.amounts import byte_text, keys_text, share_text
from ckpt_surgeon.report.digests import digest_line, digest_section, digests_document
from ckpt_surgeon.report.entries import block_text, folded, keys_in_short, notes_section, reasons_section
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table
from ckpt_surgeon.report.plan_parts import class_counts, optimizer_blocks, optimizer_document

__all__ = ["VerifiedReport", "WrittenReport", "outcome_document"]


@dataclass(frozen=True)
class WrittenReport:
    """What a surgery came to: `plan` was written to `path`; `verified` is what `verify` said of it, if it was asked."""

    plan: Plan
    outcome: Outcome
    path: str
    verified: Outcome | None = None
    detailed: bool = False

    def page(self) -> Page:
        """What was written, what is new, what is left behind."""
        plan, outcome = self.plan, self.outcome
        size = f"{keys_text(len(plan.header))}, {byte_text(plan.header.nbytes)}"
        lines = [Line(f"wrote {escape(self.path)}: {size}, read back as planned", "good"), class_counts(outcome.classes)]
        return Page.of(
            f"remap {escape(self.path)}",
            lines,
            _coverage(outcome) if plan.target is not None else [],
            digest_line(outcome.digests),
            [] if self.verified is None else _verified(self.path, self.verified),
            _new_section(outcome, detailed=self.detailed),
            reasons_section("dropped", outcome.dropped, detailed=self.detailed),
            optimizer_blocks(self._written(), detailed=self.detailed),
            digest_section(outcome.digests) if self.detailed else [],
            notes_section(dict.fromkeys((*plan.notes, *outcome.notes, *(self.verified.notes if self.verified else ())))),
        )

    def _written(self) -> Plan:
        """The plan as it was carried out: what was left behind was not kept."""
        return replace(self.plan, optimizer=OptimizerPlan("dropped", "left behind")) if self.outcome.left_behind else self.plan

    def document(self) -> Document:
        """The JSON document `outcome`."""
        return {
            **outcome_document(self.outcome, "written", self.path),
            "optimizer": optimizer_document(self._written()),
            "notes": list(dict.fromkeys((*self.plan.notes, *self.outcome.notes))),
            "verified": None if self.verified is None else outcome_document(self.verified, "verified", self.path),
        }


@dataclass(frozen=True)
class VerifiedReport:
    """What `verify` found: an outcome which passed."""

    outcome: Outcome
    path: str
    target: str
    detailed: bool = False

    def page(self) -> Page:
        """The verdict, what was left out as allowed, notes."""
        outcome = self.outcome
        return Page.of(
            f"verify {escape(self.path)} {escape(self.target)}",
            _verified(self.path, outcome),
            [class_counts(outcome.classes)],
            _coverage(outcome),
            _new_section(outcome, detailed=self.detailed),
            reasons_section("dropped", outcome.dropped, detailed=self.detailed),
            notes_section(outcome.notes),
        )

    def document(self) -> Document:
        """The JSON document `outcome`."""
        return outcome_document(self.outcome, "verified", self.path) | {"target": self.target}


def outcome_document(outcome: Outcome, action: str, path: str) -> Document:
    """An outcome's fields under torch's names; `action` is `written` or `verified`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "document": "outcome",
        "action": action,
        "path": path,
        "missing_keys": list(outcome.missing_keys),
        "unexpected_keys": list(outcome.unexpected_keys),
        "exact": list(outcome.exact),
        "renamed": list(outcome.renamed),
        "adapted": list(outcome.adapted),
        "initialized": list(outcome.initialized),
        "filled": list(outcome.filled),
        "dropped": dict(outcome.dropped),
        "left_behind": list(outcome.left_behind),
        "coverage": outcome.coverage,
        "coverage_keys": outcome.coverage_keys,
        "digests": digests_document(outcome.digests),
        "notes": list(outcome.notes),
    }


def _verified(path: str, outcome: Outcome) -> list[Block]:
    return [Line(f"verified {escape(path)}: {keys_text(len(outcome.loaded) + len(outcome.initialized))} fit", "good")]


def _coverage(outcome: Outcome) -> list[Block]:
    elements, keys = share_text(outcome.coverage), share_text(outcome.coverage_keys)
    return [Line(f"coverage: {elements} of the wanted elements, {keys} of the wanted keys")]


def _new_section(outcome: Outcome, *, detailed: bool) -> list[Block]:
    """The keys which took nothing from the source: initialized, or missing as allowed."""
    blocks: list[Block] = []
    if outcome.new:
        rows = (*_rows(outcome.initialized, "initialized", detailed), *_rows(outcome.missing_keys, "missing, as allowed", detailed))
        columns = (Column("key", "code"), Column("why"))
        blocks = [Section(f"new: {keys_text(len(outcome.new))}", "note"), Table(columns, rows).trimmed()]
    if outcome.filled:
        blocks.append(Line(f"filled by torch itself: {keys_in_short(outcome.filled)}", "note"))
    return blocks


def _rows(keys: Iterable[str], why: str, detailed: bool) -> tuple[tuple[str, str], ...]:
    return tuple((block_text(text, count), why) for text, count in folded(keys, detailed=detailed))
