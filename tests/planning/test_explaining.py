"""One key's way through the rules, forwards and backwards."""

import pytest

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.planning import explain, make_plan
from ckpt_surgeon.rules.reader import as_rules
from ckpt_surgeon.spec import Header, TensorSpec

SOURCE = Header({key: TensorSpec.of("float32", 2, 3) for key in ("m.q", "m.k", "m.w", "old", "a", "b")})
RULES = [
    {"strip_prefix": "m."},
    {"concat": {"source": ["q", "k"], "target": "qk", "dim": 0}},
    {"rename": {"qk": "attn.qk"}, "why": "the model calls it so"},
    {"drop": "old"},
    {"rename": {"a": "b", "b": "a"}},
]
TARGET = Header(
    {"attn.qk": TensorSpec.of("float32", 4, 3), "w": TensorSpec.of("float32", 2, 3), "a": TensorSpec.of("float32", 2, 3),
     "b": TensorSpec.of("float32", 2, 3), "new": TensorSpec.of("float32", 9)}
)  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    return make_plan(as_rules({"version": 1, "rules": RULES, "allow": {"missing": ["new"]}}), SOURCE, TARGET)


BACKWARDS = [
    ("attn.qk", "adapted", ("m.q", "m.k"), ["strip_prefix", "strip_prefix", "concat", "rename"]),
    ("w", "renamed", ("m.w",), ["strip_prefix"]),
    ("a", "renamed", ("b",), ["rename"]),
    ("new", "missing", (), []),
]


@pytest.mark.parametrize(("key", "classification", "ends", "ops"), BACKWARDS)
def test_a_target_key_is_followed_back_to_its_sources(plan, key, classification, ends, ops):
    way = explain(plan, key)
    assert (way.side, way.classification, way.ends, [passage.op for passage in way.passages]) == ("target", classification, ends, ops)


FORWARDS = [
    ("m.q", ("attn.qk",), ["strip_prefix", "concat", "rename"], ""),
    ("old", (), ["drop"], "dropped by"),
]


@pytest.mark.parametrize(("key", "ends", "ops", "reason"), FORWARDS)
def test_a_source_key_is_followed_to_its_targets(plan, key, ends, ops, reason):
    way = explain(plan, key)
    assert (way.side, way.ends, [passage.op for passage in way.passages]) == ("source", ends, ops)
    assert reason in way.reason


def test_each_passage_says_where_and_why(plan):
    last = explain(plan, "attn.qk").passages[-1]
    assert last.why == "the model calls it so"
    assert last.where
    assert (last.inputs, last.outputs) == (("qk",), ("attn.qk",))


def test_a_key_which_nobody_knows_gets_the_nearest(plan):
    with pytest.raises(RulesError, match=r"attn\.qk"):
        explain(plan, "attn.qq")


def test_a_tied_name_says_to_what():
    source = Header(dict.fromkeys(("x", "y"), TensorSpec.of("float32", 2)), aliases={"y": "x"})
    assert explain(make_plan(None, source, None), "y").reason == "tied to x"
