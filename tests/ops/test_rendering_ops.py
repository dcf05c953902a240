"""Every op as YAML: what a rule says of it is read back to the same op."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cases import FILES, read
from test_op_laws import every_op, examples, samples

from ckpt_surgeon.keys.pattern import Pattern
from ckpt_surgeon.keys.template import Template
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import Rule, Rules, parse_rules
from ckpt_surgeon.rules.rendering import text_of

SEVERAL = {"1": ("a.{l}",), "n": ("a.{l}", "b.{l}"), "m": ("c.{l}", "d.{l}")}


def rule_of(op: Any) -> Rule:
    """A rule with patterns for as many inputs and outputs as the op has."""
    if not hasattr(op, "infer"):
        return Rule(op)
    inputs, outputs = op.arity.split("->")
    if (inputs, outputs) in (("1", "1"), ("0", "1")):
        return Rule(op, tuple(map(Pattern.parse, ("a.**", "{x}.b"))))
    roles = getattr(op, "inputs", None)
    sources = tuple(f"{role}.{{l}}" for role in roles) if roles else SEVERAL[inputs]
    return Rule(op, tuple(map(Pattern.parse, sources)), tuple(map(Template.parse, SEVERAL[outputs])))


def as_written(op: Any) -> Any:
    """The op without what the plan fills in; the roles are in the rule."""
    given = op.parameters()
    filled = {name for name in op.body.filled if name != "inputs"}
    return type(op)(**{name: value for name, value in given.items() if name not in filled})


@every_op
@examples
@given(data=st.data())
def test_a_sampled_op_is_read_back(name: str, data: st.DataObject) -> None:
    rules = Rules((rule_of(as_written(data.draw(samples(name)).op)),))
    assert parse_rules(text_of(rules), "r") == rules


@pytest.mark.parametrize("name", [name for name in OPS if not hasattr(OPS[name], "infer")])
def test_an_op_on_names_is_read_back(name: str) -> None:
    for case in FILES[name]["works"]:
        rules = Rules((Rule(read(name, case["body"])),))
        assert parse_rules(text_of(rules), "r") == rules
