"""Roles: `source` and `target` as a mapping of what an op calls its inputs and outputs to patterns."""

from typing import Any

import jsonschema
import pytest
import torch

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.roles import Roles
from ckpt_surgeon.rules import as_rules, parse_rules
from ckpt_surgeon.rules.json_schema import json_schema

NORM = ("bn_weight", "bn_bias", "bn_running_mean", "bn_running_var")
SOURCE = {"weight": "c.weight", "bias": "c.bias"} | {role: "n." + role.removeprefix("bn_") for role in NORM}
TARGET = {"weight": "c.weight", "bias": "c.bias"}


def fold(source: Any = SOURCE, target: Any = TARGET, **parameters: Any) -> dict[str, Any]:
    return {"version": 1, "rules": [{"fold_bn": {"source": source, "target": target, "eps": 1e-5, **parameters}}]}


def without(*roles: str) -> dict[str, str]:
    return {role: pattern for role, pattern in SOURCE.items() if role not in roles}


def rule_of(document: dict[str, Any]) -> Any:
    (rule,) = as_rules(document).rules
    return rule


def texts(patterns: Any) -> list[str]:
    return [pattern.text for pattern in patterns]


def state(*, has_bias: bool = True) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    names = ["c.bias"] * has_bias + ["n.weight", "n.bias", "n.running_mean"]
    vectors = {name: torch.randn(3, generator=generator) for name in names}
    return {"c.weight": torch.randn(3, 2, generator=generator), **vectors, "n.running_var": torch.tensor([1.0, 2.0, 3.0])}


def test_roles_are_put_in_the_ops_order_whatever_theirs_is() -> None:
    turned = dict(reversed(SOURCE.items()))
    rule = rule_of(fold(turned, dict(reversed(TARGET.items()))))
    assert texts(rule.sources) == list(SOURCE.values())
    assert texts(rule.targets) == list(TARGET.values())
    assert rule == rule_of(fold())


def test_the_op_knows_which_roles_are_given() -> None:
    assert rule_of(fold()).op.parameters()["inputs"] == list(SOURCE)
    assert rule_of(fold(without("bias"))).op.parameters()["inputs"] == ["weight", *NORM]
    assert "inputs" not in rule_of(fold(list(SOURCE.values()))).op.parameters()


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_list_in_the_ops_order_means_the_same(has_bias: bool) -> None:
    source = SOURCE if has_bias else without("bias")
    by_role = surgeon.remap(state(has_bias=has_bias), fold(source))
    by_list = surgeon.remap(state(has_bias=has_bias), fold(list(source.values()), list(TARGET.values())))
    assert {key: tensor.tolist() for key, tensor in by_role.items()} == {key: tensor.tolist() for key, tensor in by_list.items()}


def test_another_order_of_a_list_means_something_else() -> None:
    swapped = [SOURCE[role] for role in ("weight", "bias", "bn_bias", "bn_weight", "bn_running_mean", "bn_running_var")]
    by_role, by_list = surgeon.remap(state(), fold()), surgeon.remap(state(), fold(swapped))
    assert not torch.equal(by_role["c.weight"], by_list["c.weight"])


def test_each_group_of_captures_is_one_application() -> None:
    plain = state()
    many = {f"{block}.{key}": tensor for block in ("a", "b") for key, tensor in plain.items()}
    captured = fold({role: "{m}." + pattern for role, pattern in SOURCE.items()}, {role: "{m}." + key for role, key in TARGET.items()})
    result = surgeon.remap(many, captured)
    single = surgeon.remap(plain, fold())
    assert sorted(result) == ["a.c.bias", "a.c.weight", "b.c.bias", "b.c.weight"]
    assert all(torch.equal(result[f"{block}.{key}"], single[key]) for block in "ab" for key in single)


def test_a_group_in_which_a_role_is_not_there_is_refused() -> None:
    with pytest.raises(RulesError, match=r"the group of c\.weight lacks a key of 'c\.bias'"):
        surgeon.plan(state(has_bias=False), fold())


REFUSED: list[tuple[dict[str, Any], str, list[str]]] = [
    (fold(SOURCE | {"bn_wieght": "x"}), ".source.bn_wieght", ["unknown word 'bn_wieght'", "Did you mean 'bn_weight'"]),
    (fold(without("bn_weight") | {"bn_wieght": "x"}), ".source.bn_wieght", ["unknown word 'bn_wieght'", "Did you mean 'bn_weight'"]),
    (fold(SOURCE | {"zzz": "x"}), ".source.zzz", ["unknown word 'zzz'", "Known: weight, bias, bn_weight"]),
    (fold(without("bn_weight", "bn_running_var")), ".source", ["lacks bn_weight, bn_running_var", "Roles: weight, bias"]),
    (fold({}), ".source", ["lacks weight, bn_weight"]),
    (fold(SOURCE | {"bias": ["x", "y"]}), ".source.bias", ["bias is one pattern; found a list"]),
    (fold(SOURCE | {"bias": 3}), ".source.bias", ["bias is a pattern", "found 3"]),
    (fold(SOURCE | {"bias": "{x"}), ".source.bias", ["{x"]),
    (fold(SOURCE | {"bias": "{m}.bias"}), "", ["do not capture the same names"]),
    (fold(target={"weight": "x"}), ".target", ["target lacks bias"]),
    (fold(target={"weight": "x", "biases": "y"}), ".target.biases", ["unknown word 'biases'", "Did you mean 'bias'"]),
    (fold(target={"weight": "x", "bias": "{q}"}), "", ["q"]),
    (fold(target="x"), ".target", ["several tensors"]),
    (fold(inputs=["weight"]), ".inputs", ["unknown word 'inputs'"]),
    ({"version": 1, "rules": [{"concat": {"source": {"weight": "a"}, "target": "b"}}]}, ".source", ["found a mapping"]),
]


@pytest.mark.parametrize(("document", "place", "says"), REFUSED)
def test_what_is_no_role_is_refused_where_it_stands(document: dict[str, Any], place: str, says: list[str]) -> None:
    with pytest.raises(RulesError) as caught:
        as_rules(document)
    assert [word for word in says if word not in str(caught.value)] == []
    name = next(iter(document["rules"][0]))
    assert [problem.where for problem in caught.value.problems if not problem.where.endswith(f"[0].{name}{place}")] == []


BEYOND_A_SCHEMA = (["do not capture the same names"], ["q"], ["{x"], ["several tensors"])  # which knows no patterns


@pytest.mark.parametrize("document", [document for document, _, says in REFUSED if says not in BEYOND_A_SCHEMA])
def test_the_schema_refuses_it_too(document: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)


@pytest.mark.parametrize("source", [SOURCE, without("bias"), list(SOURCE.values())])
@pytest.mark.parametrize("target", [TARGET, list(TARGET.values())])
def test_the_schema_takes_roles_and_lists(source: Any, target: Any) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(fold(source, target))
    as_rules(fold(source, target))


def test_a_rules_file_says_the_line_of_a_wrong_role() -> None:
    text = (
        "version: 1\nrules:\n  - merge_lora:\n      source: {weight: a, lora_a: b,\n        lora_c: c}\n      target: d\n      alpha: 1\n"
    )
    with pytest.raises(RulesError, match=r"rules\.yaml:5:9: merge_lora: source: unknown word 'lora_c'"):
        parse_rules(text, "rules.yaml")


THREE = Roles(sources=("a", "b", "c"), optional=("b", "c"))


def test_the_number_of_a_list_tells_only_all_or_what_has_to_be_there() -> None:
    assert THREE.named(None, [1, 2, 3], "op") == {"a": 1, "b": 2, "c": 3}
    assert THREE.named(None, [1], "op") == {"a": 1}
    assert THREE.named(("a", "c"), [1, 2], "op") == {"a": 1, "c": 2}
    with pytest.raises(RulesError, match=r"op: 2 inputs; it takes a, b \(optional\), c \(optional\)"):
        THREE.named(None, [1, 2], "op")


@pytest.mark.parametrize(("given", "says"), [(["a", "x"], "no input is called 'x'"), (["b"], "no a among"), (["a", "a"], "twice")])
def test_an_op_made_in_python_is_held_to_its_roles(given: list[str], says: str) -> None:
    with pytest.raises(RulesError, match=says):
        THREE.checked(given, "op")
    assert THREE.checked(["c", "a"], "op") == ("a", "c")
