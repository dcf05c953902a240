"""Mapping -> Suggestion: links between keys as the fewest rules which say them, proven by their plan. Pure; loaded on use."""

from ckpt_surgeon.mapping.writing.drafting import written
from ckpt_surgeon.mapping.writing.suggestion import Answer, Question, Suggestion

__all__ = ["Answer", "Question", "Suggestion", "written"]
