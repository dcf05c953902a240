"""On which keys an op works: `match`, or `source` and `target`, each a pattern, a list of them, or a mapping of roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Any, TypeVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.registry import OpType
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.rules.node import Node

__all__ = ["PLACES", "Places", "form_of", "names_of", "places_of", "read_places"]

PLACES = ("match", "source", "target")  # of a tensor op; its own parameters never bear these names
_ONE = "Give one, and put each capture on both sides."
_SEVERAL = "List several, or write a capture which stands only there, such as {e:int} or {x:q|k|v}."

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a tensor op finds its inputs and puts its outputs. filled: the op's parameters which follow from that, such as `inputs`."""

    sources: tuple[Pattern, ...] = ()
    targets: tuple[Template, ...] = ()
    filled: dict[str, Node] = field(default_factory=dict)


def names_of(op: Any) -> tuple[str, ...]:
    """The parameters which a rule may give."""
    return tuple(each.name for each in fields(op) if each.name not in op.body.filled)


def places_of(op: Any) -> tuple[str, ...]:
    """Those of PLACES which an op takes."""
    arity = getattr(op, "arity", None)
    if arity is None:
        return ()
    return {"1->1": PLACES, "0->1": PLACES[:1]}.get(arity, PLACES[1:])


def form_of(op: OpType) -> str:
    """How the op is written."""
    parameters = ", ".join(f"{name}: ..." for name in names_of(op))
    places = (
        "match: ..., " if getattr(op, "arity", "") in ("1->1", "0->1") else "source: ..., target: ..., " if hasattr(op, "arity") else ""
    )
    return f"Write {op.name}: {{{(places + parameters).rstrip(', ')}}}"


def read_places(op: Any, node: Node) -> Places:
    """`match`, or `source` and `target`; complains of what is wrong with them."""
    found = set(PLACES) & set(node.data)
    keeps = op.arity in ("1->1", "0->1")
    if keeps and found == {"match"}:
        return Places(node.child("match").patterns("match"))
    if op.arity == "0->1":
        node.complain(f"{op.name} needs match: the target's keys which it makes", form_of(op), key=True)
        return Places()
    if found != {"source", "target"}:
        wanted = "match (the key stays), or source and target" if keeps else "source and target"
        given = f"; found {' and '.join(place for place in PLACES if place in found)}" if found else ""
        node.complain(f"{op.name} needs {wanted}{given}", form_of(op), key=True)
        return Places()
    return _read_both(op, node)


def _read_both(op: Any, node: Node) -> Places:
    source, target = node.child("source"), node.child("target")
    roles: Roles = op.body.roles
    has_roles = bool(roles.sources) and isinstance(source.data, dict)
    sources = _by_role(op, source, roles.sources, roles.required, Pattern.parse) if has_roles else source.patterns("source")
    if roles.targets and isinstance(target.data, dict):
        targets = _by_role(op, target, roles.targets, roles.targets, Template.parse)
    else:
        targets = target.parsed(Template.parse, "target", "a template")
    if sources and targets:
        _check_scheme(op, sources, targets, node)
    given = [role for role in roles.sources if role in source.data] if has_roles else []
    return Places(sources, targets, {"inputs": replace(source, data=given)} if given and sources else {})


def _by_role(op: Any, node: Node, known: tuple[str, ...], required: tuple[str, ...], parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    """A pattern for each role, in the op's order; nothing after a complaint."""
    what = f"{op.name}: {node.place[-1]}"
    if not node.is_mapping(what):
        return ()
    before = len(node.problems)
    given = list(node.words(known, what))
    unknown = [word for word in node.data if word not in known]
    lacking = [role for role in required if role not in node.data and nearest(role, unknown) is None]
    if lacking:
        node.complain(f"{what} lacks {', '.join(lacking)}", f"Roles: {', '.join(known)}.")
    found = tuple(parsed for part in given for parsed in _single(part, what, parse))
    return found if len(node.problems) == before else ()


def _single(node: Node, what: str, parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    """The one pattern of a role."""
    if isinstance(node.data, list):
        node.complain(f"{what}: {node.place[-1]} is one pattern; found a list", "Capture what tells the groups apart.")
        return ()
    return node.parsed(parse, f"{what}: {node.place[-1]}")


def _check_scheme(op: Any, sources: tuple[Pattern, ...], targets: tuple[Template, ...], node: Node) -> None:
    """Whether sources and targets go together, and with the number of the op's inputs and outputs."""
    from ckpt_surgeon.keys.folding import Scheme

    try:
        scheme = Scheme.of(sources, targets)
    except RulesError as error:
        node.blame(error)
        return
    inputs, outputs = op.arity.split("->")
    for side, has_many, number in (("source", scheme.has_many_inputs, inputs), ("target", scheme.has_many_outputs, outputs)):
        if has_many != (number != "1"):
            found = "several are" if has_many else "one is"
            wanted = ("one tensor", _ONE) if number == "1" else ("several tensors", _SEVERAL)
            node.child(side).complain(f"{op.name}: its {side} is {wanted[0]}, and {found} given", wanted[1])
