"""Header x Header -> Diff(missing, unexpected, mismatched, matched, casts, values), coverage; Outcome, what a load came to. Pure."""

from ckpt_surgeon.comparison.coverage import Coverage, coverage_of
from ckpt_surgeon.comparison.diff import Diff, compare, fills_itself, fits
from ckpt_surgeon.comparison.hints import Wrappers
from ckpt_surgeon.comparison.outcome import Outcome
from ckpt_surgeon.comparison.values import Distance, Values

__all__ = ["Coverage", "Diff", "Distance", "Outcome", "Values", "Wrappers", "compare", "coverage_of", "fills_itself", "fits"]
