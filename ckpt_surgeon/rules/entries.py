"""One entry of `rules:` -> Rule: exactly one op, and the words which every rule may have."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import Problem, RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.matching import nearest
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.ops.registry import OPS, OpType, plugin_names
from ckpt_surgeon.rules.lines import with_lines
from ckpt_surgeon.rules.node import MAX_PROBLEMS, Node, shown
from ckpt_surgeon.rules.places import PLACES, Places, form_of, names_of, places_of, read_places
from ckpt_surgeon.rules.rule import Expect, Rule

if TYPE_CHECKING:
    from ckpt_surgeon.rules.condition import Condition

__all__ = ["COMMON", "read_entry"]

COMMON = ("when", "if", "expect", "why")
_FORM = "An entry is `op: parameters`, with `when`, `if`, `expect` and `why` beside it."
_LOAD = "Say --plugins; in Python, call ckpt_surgeon.ops.load_plugins()."
_SCALARS = "Compare with text, a number, true or false."


@dataclass(slots=True)
class _Body:
    """An op's body, taken apart: its parameters, and on which keys it works.

    has_unknown: a word in it is unknown, perhaps a parameter misspelled; what seems to be missing is then not told.
    """

    parameters: dict[str, Node] = field(default_factory=dict)
    has_unknown: bool = False
    places: Places = field(default_factory=Places)


def read_entry(entry: Node) -> Rule | None:
    """The rule, or None after complaints."""
    before = len(entry.problems)
    if not isinstance(entry.data, dict):
        entry.complain(f"a rule is a mapping; found {shown(entry.data)}", _FORM)
        return None
    if not entry.is_mapping("a rule"):
        return None
    name = _op_name(entry)
    if name is None:
        return None
    op = OPS[name]
    body = _read_body(op, entry.child(name))
    rule = _read_rule(op, body, entry, entry.child(name)) if body is not None else None
    return rule if len(entry.problems) == before else None


def _op_name(entry: Node) -> str | None:
    """The one op of an entry; complains of none, of several, and of unknown words."""
    words = [word for word in entry.data if word not in COMMON]
    ops = [word for word in words if word in OPS]
    for word in words:
        if word not in OPS:
            _unknown_word(entry, word, has_op=bool(ops))
    if len(ops) > 1:
        entry.complain(f"two ops in one rule: {' and '.join(ops[:2])}", "Write each op as an entry of its own; they run in order.")
    if not words:
        entry.complain("a rule without an op", _FORM)
    return ops[0] if len(ops) == 1 else None


def _unknown_word(entry: Node, word: str, *, has_op: bool) -> None:
    """A word beside an op may be one of the op's parameters, set one step too far to the left."""
    op = next((op for op in entry.data if op in OPS), "")
    if op and word in _body_words(OPS[op]):
        hint = f"It is a parameter of {op}: write {{{op}: {{..., {word}: ...}}}}."
        entry.child(word).complain(f"{word!r} stands beside the op", hint, key=True)
        return
    if len(entry.problems) < MAX_PROBLEMS and word in plugin_names():  # what is not told is not looked up
        entry.child(word).complain(f"{word!r} is an op of another package, which is not loaded", _LOAD, key=True)
        return
    known = COMMON if has_op else (*OPS, *COMMON)
    if has_op or nearest(word, known):
        entry.unknown(word, known, "a rule")
        return
    entry.child(word).complain(f"unknown op '{escape(word)}'", f"Known: {', '.join(OPS)}.", key=True)


def _read_rule(op: OpType, body: _Body, entry: Node, node: Node) -> Rule | None:
    from ckpt_surgeon.rules.schema import build

    common = _Common.read(entry)
    where = entry.document.where(node.place, key=True)
    try:
        made = build(op, body.parameters, node, is_complete=not body.has_unknown)
    except RulesError as error:
        if not body.has_unknown:
            node.problems.extend(_placed(op, body.parameters, error).located(where).problems)
        return None
    if made is None:
        return None
    return Rule(made, body.places.sources, body.places.targets, common.when, common.condition, common.expect, common.why, where)


def _placed(op: OpType, parameters: dict[str, Node], error: RulesError) -> RulesError:
    """The problems of an op, each at the one pair or item which has it alone; as they are, where it is not one alone."""
    from ckpt_surgeon.rules.schema import refusal_of

    for name, node in parameters.items():
        if name in op.body.files:
            continue  # as many parts as there are lines, and each but tells how it differs from another
        parts = list(node.data) if isinstance(node.data, dict) else range(len(node.data)) if isinstance(node.data, list) else ()
        found: list[Problem] = []
        for part in parts:
            alone = {part: node.data[part]} if isinstance(node.data, dict) else [node.data[part]]
            refusal = refusal_of(op, {**parameters, name: replace(node, data=alone)})
            found += refusal.located(node.document.where((*node.place, part), key=True)).problems if refusal else ()
        if {problem.what for problem in error.problems} <= {problem.what for problem in found}:
            return RulesError(found)
    return error


def _read_body(op: OpType, node: Node) -> _Body | None:
    """The parts of an op's body; None after a complaint which makes the parts useless."""
    if op.body.only:
        return _Body({op.body.whole: node}) if not isinstance(node.data, dict) or node.is_mapping(op.name) else None
    if not isinstance(node.data, dict):
        return _read_whole(op, node)
    if not node.is_mapping(op.name):
        return None
    body = _Body()
    if hasattr(op, "arity"):
        body.places = read_places(op, node)
    reserved = PLACES if hasattr(op, "arity") else ()
    known = _body_words(op)
    body.has_unknown = not set(node.data) <= {*known, *reserved}
    body.parameters = {str(part.place[-1]): part for part in node.words(known, op.name, reserved) if part.place[-1] not in reserved}
    body.parameters = with_lines(op, body.parameters) | body.places.filled
    return body


def _read_whole(op: OpType, node: Node) -> _Body | None:
    """A body which is no mapping."""
    if not op.body.whole:
        node.complain(f"{op.name} takes a mapping of its parameters; found {shown(node.data)}", form_of(op))
        return None
    if op.body.whole == "match" and hasattr(op, "arity"):
        return _Body(places=Places(node.patterns(op.name)))
    return _Body({op.body.whole: node})


def _body_words(op: Any) -> tuple[str, ...]:
    """The keys which an op's body may have."""
    if op.body.only:
        return ()
    return (*places_of(op), *names_of(op))


@dataclass(frozen=True, slots=True)
class _Common:
    """The words which every rule may have."""

    when: Any = None
    condition: Condition | None = None
    expect: Expect = None
    why: str = ""

    @staticmethod
    def read(entry: Node) -> _Common:
        """Complains of each which is wrong."""
        given = {word: entry.child(word) for word in COMMON if word in entry.data}
        return _Common(
            given["when"].word("when", ("mismatched",)) if "when" in given else None,
            _read_condition(given["if"]) if "if" in given else None,
            _read_expect(given["expect"]) if "expect" in given else None,
            given["why"].text("why") if "why" in given else "",
        )


def _read_expect(node: Node) -> Expect:
    return "any" if node.data == "any" else node.integer("expect (the number of matches, or any)")


def _read_condition(node: Node) -> Condition | None:
    from ckpt_surgeon.rules.condition import Equal, Truthy

    if isinstance(node.data, str) and node.data:
        return Truthy(node.data)
    if not isinstance(node.data, dict) or not node.data:
        node.complain(f"if is NAME, {{NAME: VALUE}} or {{not: ...}}; found {shown(node.data)}", "Variables come from --set NAME=VALUE.")
        return None
    if not node.is_mapping("if"):
        return None
    if "not" in node.data:
        return _read_negation(node)
    for name, value in node.data.items():
        if value is None or isinstance(value, dict | list):
            node.child(name).complain(f"if: {name} is compared with {shown(value)}", _SCALARS)
    return Equal(tuple(node.data.items()))


def _read_negation(node: Node) -> Condition | None:
    if len(node.data) > 1:
        node.complain("if: `not` stands alone", "Write {not: {NAME: VALUE, ...}}: not all of them.")
        return None
    from ckpt_surgeon.rules.condition import Not

    inner = _read_condition(node.child("not"))
    return None if inner is None else Not(inner)
