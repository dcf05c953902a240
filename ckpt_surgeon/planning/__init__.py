"""Source | Derived = Recipe, Plan; make_plan(rules, source, target) -> Plan. Pure. Loaded on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.planning.embedding import embedded, embedded_lineage
    from ckpt_surgeon.planning.engine import make_plan
    from ckpt_surgeon.planning.explaining import Explanation, Passage, explain
    from ckpt_surgeon.planning.lineage import Lineage, Origin, Ran, Way, Work, plan_digest, spec_text
    from ckpt_surgeon.planning.manifest import lineage_document, lineage_text, parse_lineage
    from ckpt_surgeon.planning.recipe import Derived, Plan, Recipe, Source, Step, sources_of
    from ckpt_surgeon.planning.rewriting import Draft, rewrite
    from ckpt_surgeon.planning.tracing import lineage_of

__all__ = [
    "Derived",
    "Draft",
    "Explanation",
    "Lineage",
    "Origin",
    "Passage",
    "Plan",
    "Ran",
    "Recipe",
    "Source",
    "Step",
    "Way",
    "Work",
    "embedded",
    "embedded_lineage",
    "explain",
    "lineage_document",
    "lineage_of",
    "lineage_text",
    "make_plan",
    "parse_lineage",
    "plan_digest",
    "rewrite",
    "sources_of",
    "spec_text",
]

__getattr__ = deferred(
    __name__,
    {
        "Derived": "recipe",
        "Draft": "rewriting",
        "Explanation": "explaining",
        "Lineage": "lineage",
        "Origin": "lineage",
        "Passage": "explaining",
        "Plan": "recipe",
        "Ran": "lineage",
        "Recipe": "recipe",
        "Source": "recipe",
        "Step": "recipe",
        "Way": "lineage",
        "Work": "lineage",
        "embedded": "embedding",
        "embedded_lineage": "embedding",
        "explain": "explaining",
        "lineage_document": "manifest",
        "lineage_of": "tracing",
        "lineage_text": "manifest",
        "make_plan": "engine",
        "parse_lineage": "manifest",
        "plan_digest": "lineage",
        "rewrite": "rewriting",
        "sources_of": "recipe",
        "spec_text": "lineage",
    },
)
