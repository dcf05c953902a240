"""Source | Derived = Recipe, Plan; make_plan(rules, source, target) -> Plan. Pure."""

from ckpt_surgeon.planning.engine import Draft, make_plan, rewrite
from ckpt_surgeon.planning.explaining import Explanation, Passage, explain
from ckpt_surgeon.planning.recipe import Derived, Plan, Recipe, Source, Step, sources_of

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
