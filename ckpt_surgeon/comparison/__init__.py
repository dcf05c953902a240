"""Header x Header -> Diff(missing, unexpected, mismatched, matched, casts, values), coverage; Outcome, Digests. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_surgeon.deferred import deferred

if TYPE_CHECKING:
    from ckpt_surgeon.comparison.coverage import Coverage, coverage_of
    from ckpt_surgeon.comparison.diff import Diff, compare
    from ckpt_surgeon.comparison.fitting import fills_itself, fits
    from ckpt_surgeon.comparison.hints import Wrappers
    from ckpt_surgeon.comparison.outcome import Digests, Outcome
    from ckpt_surgeon.comparison.values import Distance, Values

__all__ = [
    "Coverage",
    "Diff",
    "Digests",
    "Distance",
    "Outcome",
    "Values",
    "Wrappers",
    "compare",
    "coverage_of",
    "fills_itself",
    "fits",
]

__getattr__ = deferred(
    __name__,
    {
        "Coverage": "coverage",
        "Diff": "diff",
        "Digests": "outcome",
        "Distance": "values",
        "Outcome": "outcome",
        "Values": "values",
        "Wrappers": "hints",
        "compare": "diff",
        "coverage_of": "coverage",
        "fills_itself": "fitting",
        "fits": "fitting",
    },
)
