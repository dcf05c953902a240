"""Guards: `assert:` says what has to be true of the result; what headers tell is told before a byte is read."""

import pytest
from planned import header

from ckpt_surgeon.errors import CoverageError
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules.reader import as_rules, parse_rules
from ckpt_surgeon.spec import TensorSpec

NET = header(
    **{f"blocks__{i}__q__weight": (4, 4) for i in range(3)},
    **{f"blocks__{i}__q__bias": (4,) for i in range(3)},
    head__weight=TensorSpec.of("bfloat16", 10, 4),
    steps=TensorSpec.of("int64"),
)


def guarded(*guards, rules=(), source=NET, target=None, allow=None):
    document = {"version": 1, "rules": list(rules), "allow": allow or {}, "assert": list(guards)}
    return make_plan(as_rules(document), source, target)


HOLDS = [
    {"count": {"match": "blocks.*.q.weight", "equals": 3}},
    {"count": {"match": "blocks.**", "at_least": 1, "at_most": 6}},
    {"count": {"match": "lora.**", "equals": 0}},
    {"count": {"match": ["head.*", "steps"], "equals": 2}},
    {"shape": {"match": "blocks.*.q.weight", "is": [4, 4]}},
    {"shape": {"match": "head.weight", "is": [None, 4]}},
    {"shape": {"match": "steps", "is": []}},
    {"dtype": {"match": "blocks.**", "is": "float32"}},
    {"dtype": {"match": ["blocks.**", "head.*"], "is": ["float32", "bfloat16"]}},
    {"equal": {"source": ["blocks.0.q.weight", "blocks.1.q.weight"]}},
    {"equal": {"source": ["blocks.0.q.{leaf}", "blocks.1.q.{leaf}"]}},
    {"finite": {"match": "**"}, "why": "an optimizer which went astray"},
]


@pytest.mark.parametrize("guard", HOLDS, ids=str)
def test_what_holds_changes_nothing(guard):
    plan = guarded(guard)
    assert plan.recipes == guarded().recipes
    assert plan.digest == guarded().digest
    assert len(plan.guards) == (next(iter(guard)) in ("equal", "finite"))


FAILS = [
    ({"count": {"match": "blocks.*.q.weight", "equals": 12}}, r"count: 12 wanted of 'blocks.\*.q.weight', found 3: blocks.0.q.weight"),
    ({"count": {"match": "blocks.**", "at_least": 7}}, "count: at least 7 wanted of .*, found 6"),
    ({"count": {"match": "blocks.**", "at_most": 5}}, "count: at most 5 wanted of .*, found 6: .* and 1 more"),
    ({"count": {"match": "lora.**", "at_least": 1}}, r"at least 1 wanted of 'lora.\*\*', found 0$"),
    ({"shape": {"match": "blocks.**", "is": [4, 4]}}, r"shape: \[4, 4\] wanted; blocks.0.q.bias is f32\[4\]"),
    ({"shape": {"match": "head.weight", "is": [5, None]}}, r"shape: \[5, null\] wanted; head.weight is bf16\[10, 4\]"),
    ({"shape": {"match": "heads.weight", "is": [5, 4]}}, "shape: no key matches 'heads.weight'"),
    ({"dtype": {"match": "**.weight", "is": "float32"}}, r"dtype: float32 wanted; head.weight is bf16\[10, 4\]"),
    ({"dtype": {"match": "x", "is": "float32"}}, "dtype: no key matches 'x'"),
    ({"coverage": {"match": "**", "at_least": 0.5}}, "coverage is of a target, and there is none"),
    ({"equal": {"source": ["head.weight", "blocks.0.q.weight"]}}, "equal: head.weight .* are not alike"),
    ({"equal": {"source": ["head.weight", "wte.weight"]}}, "equal: head.weight: 1 instead of 2 tensors to compare"),
    ({"equal": {"source": ["a", "b"]}}, "equal: no key matches 'a', 'b'"),
    ({"finite": {"match": "x.**"}}, "finite: no key matches"),
]


@pytest.mark.parametrize(("guard", "says"), FAILS, ids=[str(case[0]) for case in FAILS])
def test_what_does_not_hold_is_told(guard, says):
    with pytest.raises(CoverageError, match=f"(?m){says}") as caught:
        guarded(guard)
    assert caught.value.exit_code == 1
    assert caught.value.problems[0].where == f"assert[0].{next(iter(guard))}"


def test_guards_look_at_the_result():
    guard = {"count": {"match": "blocks.*.q.weight", "equals": 0}}
    guarded(guard, rules=[{"drop": "blocks.**"}])
    with pytest.raises(CoverageError):
        guarded(guard)


def test_all_which_fail_are_told_together_each_at_its_place():
    text = "version: 1\nassert:\n  - count: {match: x, at_least: 1}\n  - finite: {match: '**'}\n  - shape: {match: head.weight, is: [1]}\n"
    with pytest.raises(CoverageError) as caught:
        make_plan(parse_rules(text, "rules.yaml"), NET, None)
    assert [problem.where for problem in caught.value.problems] == ["rules.yaml:3:5", "rules.yaml:5:5"]


def test_coverage_is_of_the_keys_which_match():
    target = header(a__w=(3,), a__b=(1,), b__w=(100,))
    source, allow = header(a__w=(3,)), {"missing": "**"}
    guarded({"coverage": {"match": "a.**", "at_least": 0.75}}, source=source, target=target, allow=allow)
    with pytest.raises(CoverageError, match=r"0.7500 of the elements of 'a.\*\*' read a source, at least 0.8 is wanted"):
        guarded({"coverage": {"match": "a.**", "at_least": 0.8}}, source=source, target=target, allow=allow)
    with pytest.raises(CoverageError, match="no key of the target matches"):
        guarded({"coverage": {"match": "c.**", "at_least": 0.8}}, source=source, target=target, allow=allow)


def test_an_initialized_key_is_not_covered():
    target = header(a=(2,), b=(2,))
    rules = [{"init": {"match": "b", "value": "zeros"}}]
    with pytest.raises(CoverageError, match=r"0.5000 of the elements"):
        guarded({"coverage": {"match": "**", "at_least": 0.9}}, rules=rules, source=header(a=(2,)), target=target)


def test_documents_join_their_guards():
    one, two = (as_rules({"version": 1, "assert": [{"finite": {"match": name}}]}) for name in "ab")
    assert one.joined(two).guards == one.guards + two.guards
