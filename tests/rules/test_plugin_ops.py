"""An op of another package is read, checked and described as ours are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jsonschema
import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.defaults import NameDefaults, TensorDefaults
from ckpt_surgeon.ops.protocol import Arity, Body, Contract, Edit
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import inline_rule
from ckpt_surgeon.rules.json_schema import json_schema


@dataclass(frozen=True)
class Shout(NameDefaults):
    """Upper case."""

    name: ClassVar[str] = "shout"
    body: ClassVar[Body] = Body("words")

    words: tuple[str, ...] | str
    loudness: float = 1.0
    how: Literal["high", "low"] = "high"

    def edits(self, keys: Sequence[str], target: Collection[str] | None) -> list[Edit]:
        """None."""
        return []


@dataclass(frozen=True)
class Deal(TensorDefaults):
    """Several to several."""

    name: ClassVar[str] = "deal"
    arity: ClassVar[Arity] = "n->m"
    contract: ClassVar[Contract] = "exact"

    hands: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if self.hands == {}:
            raise RulesError("deal: no hands", hint="Give some.")


@dataclass(frozen=True)
class Odd(NameDefaults):
    """A field which no rule can give."""

    name: ClassVar[str] = "odd"
    body: ClassVar[Body] = Body("words")

    words: frozenset[str]


@dataclass(frozen=True)
class Hidden(NameDefaults):
    """A field whose type is not there at run time."""

    name: ClassVar[str] = "hidden"
    body: ClassVar[Body] = Body("words")

    words: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@pytest.fixture
def plugins(monkeypatch):
    monkeypatch.setitem(OPS, "shout", Shout)
    monkeypatch.setitem(OPS, "deal", Deal)


GOOD = [
    ({"shout": "a"}, Shout("a")),
    ({"shout": ["a", "b"]}, Shout(("a", "b"))),
    ({"shout": {"words": "a", "loudness": 2}}, Shout("a", 2.0)),
    ({"shout": {"words": "a", "how": "low"}}, Shout("a", how="low")),
    ({"deal": {"source": ["a", "b"], "target": ["c", "d"]}}, Deal()),
    ({"deal": {"source": "a.{i:int}", "target": "{x:b|c}", "hands": {"n": 2}}}, Deal({"n": 2})),
]
WRONG = [
    ("shout: {words: a, loudness: high}", "1:29", "shout: loudness is 'high'; allowed: a number"),
    ("shout: {words: a, how: middle}", "1:24", "shout: how is 'middle'; allowed: high, low"),
    ("shout: {loudness: 1}", "1:1", "shout needs words: a list of texts or text"),
    ("shout: 3", "1:8", "shout: words is 3; allowed: a list of texts or text"),
    ("deal: {match: a}", "1:1", "deal needs source and target; found match"),
    ("deal: {source: a, target: [b, c]}", "1:16", "deal: its source is several tensors, and one is given"),
    ("deal: {source: [a, b], target: c}", "1:32", "deal: its target is several tensors, and one is given"),
    (
        "deal: {source: [a, b], target: [c, d], hands: {n: x}}",
        "1:51",
        "deal: hands is a mapping, found 'x' in it; allowed: a mapping to whole numbers",
    ),
    ("deal: {source: [a, b], target: [c, d], hands: {}}", "1:1", "deal: no hands"),
]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("entry", "op"), GOOD)
def test_an_op_of_another_package_is_read_and_described(entry, op):
    import yaml

    (rule,) = inline_rule(yaml.safe_dump(entry)).rules
    assert rule.op == op
    jsonschema.Draft202012Validator(json_schema()).validate({"version": 1, "rules": [entry]})


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("text", "place", "says"), WRONG)
def test_its_parameters_are_checked(text, place, says):
    with pytest.raises(RulesError) as caught:
        inline_rule(text)
    (problem,) = caught.value.problems
    assert (problem.where, problem.what) == (f"-e 1:{place}", says)


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (Odd, r"odd: words has the type frozenset\[str\], which no rules file can give"),
        (Hidden, "hidden: the types of its fields cannot be told: name 'Nowhere' is not defined"),
    ],
)
def test_a_field_whose_type_stands_for_no_plain_value_is_told(monkeypatch, op, says):
    monkeypatch.setitem(OPS, op.name, op)
    with pytest.raises(RulesError, match=f"-e 1:1:1: {says}"):
        inline_rule(f"{op.name}: a")
    with pytest.raises(RulesError, match=says):
        json_schema()


def test_without_the_package_the_op_is_unknown():
    with pytest.raises(RulesError, match="unknown op 'shout'"):
        inline_rule("shout: a")
