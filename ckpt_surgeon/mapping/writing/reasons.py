"""Why each suggested rule is there: the evidence of the decisions which it carries out, and how sure the least sure of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import floor
from typing import Any

from ckpt_surgeon.mapping.links import Family

__all__ = ["confidence_text", "with_reasons"]

_MOST = 2  # reasons in one sentence; a rule may stand for thirty decisions
_DIGITS = 1000  # a confidence is told in thousandths, rounded down: only what is certain reads 1.000
_LEFT = {"drop": "no part of the model takes it", "keep": "no part of the model takes the rest"}

Entry = dict[str, Any]


def with_reasons(entries: Sequence[Entry], touched: Sequence[set[str]], families: Iterable[Family]) -> list[Entry]:
    """The entries, each with its `why`. touched: for each the target keys in which it has a part."""
    decided = {key: family for family in families for link in family.links for key in link.targets}
    return [entry if "why" in entry else {**entry, "why": _why(entry, keys, decided)} for entry, keys in zip(entries, touched, strict=True)]


def _why(entry: Entry, keys: set[str], decided: Mapping[str, Family]) -> str:
    found = [decided[key] for key in sorted(keys) if key in decided]
    if not found:
        return next((why for op, why in _LEFT.items() if op in entry), "names only")
    reasons = [why for why, _ in Counter(family.why for family in found if family.why).most_common()]
    more = [f"{len(reasons) - _MOST} more reasons"] if len(reasons) > _MOST + 1 else reasons[_MOST : _MOST + 1]
    sure = f"confidence {confidence_text(min(family.confidence for family in found))}"
    return "; ".join([*reasons[:_MOST], *more, sure])


def confidence_text(confidence: float) -> str:
    """`0.998`, rounded down."""
    return f"{floor(confidence * _DIGITS) / _DIGITS:.3f}"
