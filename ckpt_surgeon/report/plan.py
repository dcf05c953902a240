"""A plan as a report: what `remap --dry-run` says."""

from __future__ import annotations

from ckpt_surgeon.errors import Problem
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.planning.recipe import Plan, Recipe
from ckpt_surgeon.report.amounts import byte_text, keys_text, share_text
from ckpt_surgeon.report.entries import block_text, key_section, keys_in_short, notes_section, reasons_section
from ckpt_surgeon.report.page import SCHEMA_VERSION, Block, Column, Document, Line, Page, Section, Table
from ckpt_surgeon.report.plan_parts import class_counts, optimizer_blocks, optimizer_document
from ckpt_surgeon.report.recipes import fold_recipes, recipe_document

__all__ = ["PlanReport"]

_COLUMNS = (Column("target", "code"), Column("from", "code"), Column("by", "code"), Column("class"))


@dataclass(frozen=True)
class PlanReport:
    """What would be written, and from what. `detailed`: each key in its own row, those which stay as they are included.

    obstacles: what stands against an edit in place; None where that was not asked.
    """

    plan: Plan
    detailed: bool = False
    obstacles: tuple[Problem, ...] | None = None

    def page(self) -> Page:
        """The numbers, the recipes which change something, what is left out, the optimizer, notes."""
        plan = self.plan
        return Page.of(
            "plan",
            self._verdict(),
            self._recipes(),
            self._missing(),
            reasons_section("dropped", plan.dropped, detailed=self.detailed),
            [Line(f"filled by torch itself: {keys_in_short(plan.filled)}", "note")] if plan.filled else [],
            optimizer_blocks(plan, detailed=self.detailed),
            self._in_place(),
            notes_section(plan.notes),
        )

    def document(self) -> Document:
        """The JSON document `plan`."""
        plan = self.plan
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "plan",
            "coverage": plan.outcome.coverage,
            "coverage_keys": plan.outcome.coverage_keys,
            "targets": {key: recipe_document(recipe, classification) for key, recipe, classification in self._members()},
            "ties": dict(plan.ties),
            "dropped": dict(plan.dropped),
            "filled": list(plan.filled),
            "optimizer": optimizer_document(plan),
            "notes": list(plan.notes),
            "digest": plan.digest,
            **(
                {}
                if self.obstacles is None
                else {"in_place": {"possible": not self.obstacles, "obstacles": list(map(str, self.obstacles))}}
            ),
        }

    def _members(self) -> list[tuple[str, Recipe | None, str]]:
        """(key, recipe, class) of each target key, missing ones included, in the target's order."""
        plan = self.plan
        classes = plan.outcome.classes
        order = plan.header.entries if plan.target is None else plan.target.entries
        return [(key, plan.recipes.get(plan.ties.get(key, key)), classes[key]) for key in order if key in classes]

    def _verdict(self) -> list[Block]:
        plan = self.plan
        size = f"{keys_text(len(plan.header))}, {byte_text(plan.header.nbytes)}"
        if plan.target is None:
            return [Line(f"plan: {size}", "good"), class_counts(plan.outcome.classes)]
        covered = f"{share_text(plan.outcome.coverage)} of the target's elements"
        return [Line(f"plan: {size}; {covered} come from the source", "good"), class_counts(plan.outcome.classes)]

    def _recipes(self) -> list[Block]:
        members = [member for member in self._members() if member[2] != "missing" and (self.detailed or member[2] != "exact")]
        rows = [
            (block_text(row.target, row.count), row.sources, row.ops, row.classification)
            for row in fold_recipes(members, detailed=self.detailed)
        ]
        return [Section("recipes"), Table(_COLUMNS, tuple(rows)).trimmed()] if rows else []

    def _in_place(self) -> list[Block]:
        if self.obstacles is None:
            return []
        if not self.obstacles:
            return [Line("in place: possible; no weight moves", "good")]
        return [Line("in place: not possible", "bad"), *(Line(f"  {each}") for each in self.obstacles)]

    def _missing(self) -> list[Block]:
        target = self.plan.target
        if target is None:
            return []
        entries = {key: target.entries[key] for key in self.plan.outcome.missing_keys}
        return key_section("missing, as allowed", entries, "note", detailed=self.detailed)
