"""Lineage <-> its JSON document, the manifest; what comes from strangers is strictly checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ckpt_surgeon.comparison import Digests
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.strict_json import parse_json
from ckpt_surgeon.planning.affixes import MAX_PREFIX
from ckpt_surgeon.planning.lineage import AS_IT_IS, Lineage, Ran, Way, Work
from ckpt_surgeon.planning.stamping import is_digest

__all__ = ["SCHEMA_VERSION", "lineage_document", "lineage_text", "parse_lineage"]

SCHEMA_VERSION: Final = 1
# As many as a rules file of 1 MB can have rules, and more than they have ways to combine.
_MAX_RULES: Final = 100_000
# A dim, an op's output, the number of sources of one tensor: more is no count of anything.
_MAX_COUNT: Final = 10_000_000
_FIELDS = ("schema_version", "document", "plan", "targets", "rules", "ways", "prefixes", "keys", "missing")
_OPTIONAL = ("tensors", "digests")


def lineage_document(lineage: Lineage) -> dict[str, Any]:
    """The JSON document `lineage`; docs/schemas/lineage.json says what its fields are."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "document": "lineage",
        "plan": lineage.plan,
        "targets": lineage.targets,
        "rules": [{"rule": ran.number, "op": ran.op, "place": ran.place} for ran in lineage.rules],
        "ways": [_way_document(way) for way in lineage.ways],
        "prefixes": {prefix: list(move) for prefix, move in lineage.prefixes.items()},
        "keys": {key: [way, *sources] for key, (way, sources) in lineage.keys.items()},
        "missing": list(lineage.missing),
    }
    if lineage.tensors is not None:
        document["tensors"] = dict(lineage.tensors)
    if lineage.digests is not None:
        found = lineage.digests
        document["digests"] = {"algorithm": found.algorithm, "whole": found.whole, "tensors": dict(found.tensors)}
    return document


def lineage_text(lineage: Lineage) -> str:
    """The document in as few characters as JSON allows."""
    return json.dumps(lineage_document(lineage), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse_lineage(text: bytes | str, what: str) -> Lineage:
    """The lineage in a manifest, which the errors call `what`.

    Raises CorruptError for whatever is not as we write it: unknown or missing fields, wrong types, positions of nothing, prefixes which
    are none; LimitError for more than any checkpoint needs.
    """
    document = parse_json(text, what)
    try:
        return _lineage(document)
    except (CorruptError, LimitError) as error:
        raise error.located(what) from error


def _way_document(way: Way) -> dict[str, Any]:
    steps = [{"op": work.op, "parameters": dict(work.parameters), "output": work.output, "inputs": list(work.inputs)} for work in way.steps]
    return {"sources": way.sources, "steps": steps, "rules": list(way.rules)}


def _lineage(document: Any) -> Lineage:
    fields = _object(document, _FIELDS, _OPTIONAL, "the manifest")
    if _count(fields["schema_version"], "schema_version") != SCHEMA_VERSION or fields["document"] != "lineage":
        raise CorruptError(f"it is no lineage of version {SCHEMA_VERSION}", hint="a newer ckpt-surgeon may have written it")
    rules = tuple(_ran(item) for item in _list(fields["rules"], "rules"))
    if len(rules) > _MAX_RULES:
        raise LimitError(f"it names {len(rules)} rules; {_MAX_RULES} are allowed")
    ways = tuple(_way(item, len(rules)) for item in _list(fields["ways"], "ways"))
    if not ways or ways[0] != AS_IT_IS:
        raise CorruptError("the first of its ways is not that of a source as it is")
    return Lineage(
        plan=_digest(fields["plan"], "plan"),
        targets=_count(fields["targets"], "targets"),
        rules=rules,
        ways=ways,
        prefixes={prefix: _prefix(prefix, move, ways) for prefix, move in _table(fields["prefixes"], "prefixes").items()},
        keys={key: _move(move, ways) for key, move in _table(fields["keys"], "keys").items()},
        missing=tuple(_texts(fields["missing"], "missing")),
        tensors=_specs(fields["tensors"]) if "tensors" in fields else None,
        digests=_digests(fields["digests"]) if "digests" in fields else None,
    )


def _ran(item: Any) -> Ran:
    fields = _object(item, ("rule", "op", "place"), (), "a rule")
    return Ran(_count(fields["rule"], "a rule's number"), _text(fields["op"], "a rule's op"), _text(fields["place"], "a rule's place"))


def _way(item: Any, rules: int) -> Way:
    fields = _object(item, ("sources", "steps", "rules"), (), "a way")
    sources = _count(fields["sources"], "a way's sources")
    steps: list[Work] = []
    for step in _list(fields["steps"], "a way's steps"):
        steps.append(_work(step, sources + len(steps)))
    if not steps and sources != 1:
        raise CorruptError(f"a way without steps has {sources} sources")
    return Way(sources, tuple(steps), tuple(_position(each, rules, "a rule") for each in _list(fields["rules"], "a way's rules")))


def _work(item: Any, known: int) -> Work:
    """A step, which takes what stands before it: `known` sources and steps."""
    fields = _object(item, ("op", "parameters", "output", "inputs"), (), "a step")
    inputs = tuple(_position(each, known, "an input") for each in _list(fields["inputs"], "a step's inputs"))
    parameters = _table(fields["parameters"], "a step's parameters")
    return Work(_text(fields["op"], "a step's op"), parameters, _count(fields["output"], "a step's output"), inputs)


def _prefix(prefix: str, move: Any, ways: tuple[Way, ...]) -> tuple[int, str]:
    way, sources = _move(move, ways)
    if len(sources) != 1:
        raise CorruptError("a prefix leads to one source", where=prefix)
    if not all(text == "" or text.endswith(".") for text in (prefix, sources[0])):
        raise CorruptError("a prefix is whole segments, up to a dot", where=prefix)
    if len(sources[0]) > MAX_PREFIX:
        raise LimitError(f"a prefix of {len(sources[0])} characters; {MAX_PREFIX} are allowed", where=prefix)
    return way, sources[0]


def _move(move: Any, ways: tuple[Way, ...]) -> tuple[int, tuple[str, ...]]:
    """`[way, source, ...]`, with as many sources as the way has."""
    if not _list(move, "a move"):
        raise CorruptError("a move names no way")
    way, sources = _position(move[0], len(ways), "a way"), tuple(_texts(move[1:], "a move's sources"))
    if len(sources) != ways[way].sources:
        raise CorruptError(f"a way from {ways[way].sources} sources is given {len(sources)}")
    return way, sources


def _specs(value: Any) -> dict[str, str]:
    return {key: _text(text, "a tensor") for key, text in _table(value, "tensors").items()}


def _digests(value: Any) -> Digests:
    fields = _object(value, ("algorithm", "whole", "tensors"), (), "digests")
    tensors = {key: _digest(text, "a tensor's digest") for key, text in _table(fields["tensors"], "digests of tensors").items()}
    return Digests(_text(fields["algorithm"], "the algorithm"), tensors, _digest(fields["whole"], "the whole's digest"))


def _object(value: Any, wanted: Iterable[str], optional: Iterable[str], what: str) -> Mapping[str, Any]:
    table = _table(value, what)
    lacking = [name for name in wanted if name not in table]
    unknown = [name for name in table if name not in (*wanted, *optional)]
    if lacking or unknown:
        raise CorruptError(f"{what} lacks {lacking}" if lacking else f"{what} has fields which nobody knows: {unknown[:3]}")
    return table


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CorruptError(f"{what} is no table")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise CorruptError(f"{what} is no list")
    return value


def _texts(value: Any, what: str) -> list[str]:
    return [_text(item, what) for item in _list(value, what)]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise CorruptError(f"{what} is no text")
    return value


def _digest(value: Any, what: str) -> str:
    if not is_digest(value):
        raise CorruptError(f"{what} is no digest of 64 hexadecimal digits")
    return str(value)


def _count(value: Any, what: str) -> int:
    return _position(value, _MAX_COUNT, what)


def _position(value: Any, end: int, what: str) -> int:
    """A whole number from 0 up to, and without, `end`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
        raise CorruptError(f"{what} is {value!r}; a whole number below {end} is wanted")
    return value
