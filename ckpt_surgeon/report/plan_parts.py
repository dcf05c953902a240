"""What the reports of a plan and of its outcome have in common: the classes of keys, and the optimizer."""

from __future__ import annotations

from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.planning.recipe import Plan
from ckpt_surgeon.report.entries import reasons_section
from ckpt_surgeon.report.page import Block, Document, Line

__all__ = ["class_counts", "optimizer_blocks", "optimizer_document"]


def class_counts(classes: dict[str, str]) -> Line:
    """`exact 1, renamed 317, adapted 1, initialized 0, missing 2`."""
    names = ("exact", "renamed", "adapted", "initialized", "missing")
    found = list(classes.values())
    return Line(", ".join(f"{name} {found.count(name)}" for name in names))


def optimizer_document(plan: Plan) -> Document:
    """Which optimizer states there are, and what becomes of them and of each parameter in them."""
    fate = plan.optimizer
    return {
        "states": list(plan.source.envelope.optimizers),
        "kept": plan.keeps_optimizer,
        "fate": fate.fate,
        "why": fate.why,
        "followed": list(fate.followed),
        "reset": dict(fate.reset),
        "dropped": dict(fate.dropped),
        "new": list(fate.new),
    }


def optimizer_blocks(plan: Plan, *, detailed: bool) -> list[Block]:
    """The optimizer states which stay, by name, and which parameters lose theirs; of states which go the notes tell, with the reason."""
    states, fate = ", ".join(map(escape, plan.source.envelope.optimizers)), plan.optimizer
    if not states or fate.fate == "dropped":
        return []
    if fate.fate == "kept":
        return [Line(f"optimizer state kept: {states}")]
    numbers = {"followed": len(fate.followed), "reset": len(fate.reset), "dropped": len(fate.dropped), "new": len(fate.new)}
    untold = {key: why for key, why in fate.dropped.items() if key not in plan.dropped}
    counts = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return [
        Line(f"optimizer state {fate.fate}: {states}; of its parameters {counts}"),
        *reasons_section("optimizer state reset", fate.reset, detailed=detailed),
        *reasons_section("optimizer state dropped", untold, detailed=detailed),
    ]
