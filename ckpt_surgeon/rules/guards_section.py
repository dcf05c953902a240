"""The section `assert:` of a rules document: a list of guards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ckpt_surgeon.rules.guards import CountGuard, CoverageGuard, DtypeGuard, EqualGuard, FiniteGuard, Guard, ShapeGuard
from ckpt_surgeon.rules.node import Node, shown
from ckpt_surgeon.spec import DTYPES

__all__ = ["BOUNDS", "WORDS", "read_guards"]

BOUNDS: Final = ("equals", "at_least", "at_most")  # of `count`
# Guard -> the words which stand in it; all are needed but the bounds, of which one is.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "count": ("match", *BOUNDS),
    "shape": ("match", "is"),
    "dtype": ("match", "is"),
    "coverage": ("match", "at_least"),
    "equal": ("source",),
    "finite": ("match",),
}
_FORM = 'Such as `- shape: {match: fc.weight, is: [10, 512]}` or `- finite: {match: "**"}`.'


def read_guards(node: Node) -> tuple[Guard, ...]:
    """The guards of a document; complains of what is none."""
    if not isinstance(node.data, list):
        node.complain(f"assert is a list; found {shown(node.data)}", _FORM)
        return ()
    found = [_read_guard(node.child(at)) for at in range(len(node.data))]
    return tuple(guard for guard in found if guard is not None)


def _read_guard(entry: Node) -> Guard | None:
    if not isinstance(entry.data, dict) or not entry.is_mapping("a guard"):
        if not isinstance(entry.data, dict):
            entry.complain(f"a guard is a mapping; found {shown(entry.data)}", _FORM)
        return None
    words = list(entry.words(tuple(WORDS), "a guard", ("why",)))
    if len(words) != 1:
        if words or set(entry.data) <= {"why"}:
            entry.complain(f"a guard has one of these words: {', '.join(WORDS)}", _FORM)
        return None
    if "why" in entry.data:
        entry.child("why").text("why")
    (body,) = words
    name = str(body.place[-1])
    before = len(entry.problems)
    if not body.is_mapping(f"assert: {name}"):
        return None
    given = {str(part.place[-1]): part for part in body.words(WORDS[name], f"assert: {name}")}
    lacking = [word for word in WORDS[name] if word not in given and word not in (BOUNDS if name == "count" else ())]
    if lacking:
        body.complain(f"assert: {name} needs {' and '.join(lacking)}", _FORM, key=True)
    if len(entry.problems) > before:
        return None
    guard = _READERS[name](given, body, body.document.where(body.place, key=True))
    return guard if len(entry.problems) == before else None


def _read_count(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    bounds = {word: given[word].integer(f"count: {word}") for word in BOUNDS if word in given}
    if not bounds:
        body.complain(f"assert: count needs one of {', '.join(BOUNDS)}", key=True)
    return CountGuard(given["match"].patterns("count: match"), **bounds, where=where)


def _read_shape(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    sizes = given["is"].data
    if not isinstance(sizes, list) or not all(size is None or _is_size(size) for size in sizes):
        given["is"].complain(f"shape: is is {shown(sizes)}; a list of sizes is wanted, null for any", "Such as `is: [768, null]`.")
        sizes = []
    return ShapeGuard(given["match"].patterns("shape: match"), tuple(sizes), where)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_dtype(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    node = given["is"]
    items = [node.child(at) for at in range(len(node.data))] if isinstance(node.data, list) and node.data else [node]
    names = tuple(item.word("dtype: is", tuple(DTYPES)) for item in items)
    return DtypeGuard(given["match"].patterns("dtype: match"), names, where)


def _read_coverage(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    share = given["at_least"].number("coverage: at_least")
    if share > 1:
        given["at_least"].complain(f"coverage: at_least is {share}; it is a share from 0 to 1")
    return CoverageGuard(given["match"].patterns("coverage: match"), share, where)


def _read_equal(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    patterns = given["source"].patterns("equal: source")
    if len(patterns) < 2 or any(set(pattern.captures) != set(patterns[0].captures) for pattern in patterns):
        hint = 'Such as `equal: {source: ["{k:path}.wte.weight", "{k:path}.head.weight"]}`.'
        given["source"].complain("equal: source is a list of two patterns or more, which capture the same names", hint)
    return EqualGuard(patterns, where)


def _read_finite(given: Mapping[str, Node], body: Node, where: str) -> Guard:
    return FiniteGuard(given["match"].patterns("finite: match"), where)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Node], Node, str], Guard]]] = {
    "count": _read_count,
    "shape": _read_shape,
    "dtype": _read_dtype,
    "coverage": _read_coverage,
    "equal": _read_equal,
    "finite": _read_finite,
}
