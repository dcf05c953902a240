"""The values of a diff as blocks of a report, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, trunc

from ckpt_surgeon.comparison import Distance, Values
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.report.amounts import byte_text, count_text, keys_text
from ckpt_surgeon.report.entries import reasons_section
from ckpt_surgeon.report.page import Block, Column, Document, Line, Section, Table, Tone

__all__ = ["values_blocks", "values_document", "values_numbers"]

_MOST_ROWS = 20  # the furthest apart, unless details were asked for
_COLUMNS = (
    Column("key", "code"),
    Column("relative L2", "number"),
    Column("max abs", "number"),
    Column("cosine", "number"),
    Column("differ", "number"),
    Column("NaN (source, target)", "number"),
)
_DIGITS = 10**6  # of a cosine: what is not 1 shall not read 1


def values_numbers(values: Values) -> Line:
    """How many are equal, different, left out."""
    return Line(f"values: {len(values.equal)} equal, {len(values.different)} different, {len(values.skipped)} not compared")


def values_blocks(values: Values, *, detailed: bool = False) -> list[Block]:
    """How many tensors are equal, then those which are not, the furthest first, then what was not compared."""
    compared = len(values.equal) + len(values.different)
    tone: Tone = "bad" if values.different else "good"
    text = f"values: {len(values.equal)} of {compared} tensors are equal; {byte_text(values.nbytes)} were compared"
    return [Line(text, tone), *_differences(values, detailed), *reasons_section("not compared", values.skipped, detailed=detailed)]


def _differences(values: Values, detailed: bool) -> Iterable[Block]:
    found = values.different
    if not found:
        return
    shown = list(found.items())[: None if detailed else _MOST_ROWS]
    yield Section(f"values differ: {keys_text(len(found))}, the furthest apart first", "bad")
    yield Table(_COLUMNS, tuple(_row(key, distance) for key, distance in shown)).trimmed()
    if len(shown) < len(found):
        yield Line(f"and {keys_text(len(found) - len(shown))} more (-v shows them)", "note")


def _row(key: str, distance: Distance) -> tuple[str, ...]:
    differ = f"{count_text(distance.differing)} of {count_text(distance.elements)}"
    nan = ", ".join(map(str, distance.nan)) if any(distance.nan) else ""
    return escape(key), _number(distance.relative_l2), _number(distance.max_abs), _cosine(distance.cosine), differ, nan


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{trunc(value * _DIGITS) / _DIGITS:.6f}"


def values_document(values: Values) -> Document:
    """The `values` of the JSON document `diff`."""
    return {
        "equal": list(values.equal),
        "different": {key: _distance_document(distance) for key, distance in values.different.items()},
        "skipped": dict(values.skipped),
        "nbytes": values.nbytes,
    }


def _distance_document(distance: Distance) -> Document:
    return {
        "elements": distance.elements,
        "differing": distance.differing,
        "nan": {"source": distance.nan[0], "target": distance.nan[1]},
        "max_abs": _finite(distance.max_abs),
        "relative_l2": _finite(distance.relative_l2),
        "cosine": distance.cosine,
    }


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinity."""
    return value if value is None or isfinite(value) else "infinity"
