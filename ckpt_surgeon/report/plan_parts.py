"""What the reports of a plan and of its outcome have in common: the classes of keys, and the optimizer."""

from __future__ import annotations

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning.recipe import Plan
from ckpt_surgeon.report.page import Block, Document, Line

__all__ = ["class_counts", "optimizer_document", "optimizer_lines"]


def class_counts(classes: dict[str, str]) -> Line:
    """`exact 1, renamed 317, adapted 1, initialized 0, missing 2`."""
    names = ("exact", "renamed", "adapted", "initialized", "missing")
    found = list(classes.values())
    return Line(", ".join(f"{name} {found.count(name)}" for name in names))


def optimizer_document(plan: Plan) -> Document:
    """Which optimizer states there are, and whether they stay."""
    return {"states": list(plan.source.envelope.optimizers), "kept": plan.keeps_optimizer}


def optimizer_lines(plan: Plan) -> list[Block]:
    """The optimizer states which stay, by name; of those which go, the plan's notes tell, with the reason."""
    states = ", ".join(map(escape, plan.source.envelope.optimizers))
    return [Line(f"optimizer state kept: {states}")] if states and plan.keeps_optimizer else []
