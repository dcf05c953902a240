"""Source | Derived = Recipe, Plan; make_plan(rules, source, target) -> Plan. Pure. Loaded on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.planning.engine import make_plan
    from ckpt_surgeon.planning.explaining import Explanation, Passage, explain
    from ckpt_surgeon.planning.recipe import Derived, Plan, Recipe, Source, Step, sources_of
    from ckpt_surgeon.planning.rewriting import Draft, rewrite

__all__ = [
    "Derived",
    "Draft",
    "Explanation",
    "Passage",
    "Plan",
    "Recipe",
    "Source",
    "Step",
    "explain",
    "make_plan",
    "rewrite",
    "sources_of",
]

__getattr__ = deferred(
    __name__,
    {
        "Derived": "recipe",
        "Draft": "rewriting",
        "Explanation": "explaining",
        "Passage": "explaining",
        "Plan": "recipe",
        "Recipe": "recipe",
        "Source": "recipe",
        "Step": "recipe",
        "explain": "explaining",
        "make_plan": "engine",
        "rewrite": "rewriting",
        "sources_of": "recipe",
    },
)
