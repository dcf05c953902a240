"""The same cases through the public door: written into a rules file, planned against headers, run on a state_dict."""

from typing import Any

import pytest
import torch
import yaml
from op_samples import bytes_of, inputs_of, specs_of
from test_cases import bound_of, cases, edits_of, read

import ckpt_surgeon as surgeon
from ckpt_surgeon import RulesError
from ckpt_surgeon.ops.protocol import Drop, Move
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.rules import Rules, parse_rules
from ckpt_surgeon.spec import Header, TensorSpec

VALUES = cases("works", of="tensors", wants="tensors")
SCALAR = TensorSpec.of("float32", 2)
PLACES: dict[str, dict[str, str]] = {
    "1->1": {"match": "in.0"},
    "0->1": {"match": "out.0"},
    "1->n": {"source": "in.0", "target": "out.{part:int}"},
    "n->1": {"source": "in.{part:int}", "target": "out.0"},
    "n->m": {"source": "in.{part:int}", "target": "out.{piece:int}"},
}


def rules_of(name: str, body: Any, **common: Any) -> Rules:
    document = {"version": 1, "rules": [{name: body, **common}], "allow": {"casts": ["**"], "missing": ["**"], "unexpected": ["**"]}}
    return parse_rules(yaml.safe_dump(document, sort_keys=False), "rules.yaml")


def placed(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with the keys on which it works."""
    return body | PLACES[arity(name)]


def arity(name: str) -> str:
    op: Any = OPS[name]
    return str(op.arity)


def output_names(name: str, count: int) -> list[str]:
    return ["in.0"] if arity(name) == "1->1" else [f"out.{i}" for i in range(count)]


@pytest.mark.parametrize(("name", "case"), cases("works", of="names"))
def test_a_rules_file_reads_the_same_op_on_names(name: str, case: dict[str, Any]) -> None:
    (rule,) = rules_of(name, case["body"]).rules
    assert rule.op == read(name, case["body"])
    assert rule.where.startswith("rules.yaml:3:")


@pytest.mark.parametrize(("name", "case"), cases("works", of="tensors"))
def test_a_rules_file_reads_the_same_op_on_tensors(name: str, case: dict[str, Any]) -> None:
    (rule,) = rules_of(name, placed(name, case["body"])).rules
    assert rule.op == read(name, case["body"])
    assert [pattern.text for pattern in rule.sources] == [next(iter(PLACES[arity(name)].values()))]


@pytest.mark.parametrize(("name", "case"), cases("bad"))
def test_a_rules_file_is_refused_at_the_line_of_a_wrong_rule(name: str, case: dict[str, Any]) -> None:
    body = placed(name, case["body"]) if hasattr(OPS[name], "infer") else case["body"]
    with pytest.raises(RulesError) as caught:
        rules_of(name, body)
    assert all(problem.where.startswith("rules.yaml:") for problem in caught.value.problems)


@pytest.mark.parametrize(("name", "case"), cases("works", of="names"))
def test_a_plan_moves_the_names_as_the_case_says(name: str, case: dict[str, Any]) -> None:
    edits = edits_of(case)
    keys = list(dict.fromkeys([*(edit.source for edit in edits), *case.get("stays", [])]))
    gone = {edit.source for edit in edits if isinstance(edit, Drop | Move)}
    expected = {*(key for key in keys if key not in gone), *(edit.target for edit in edits if not isinstance(edit, Drop))}
    common = ["on both sides"] if "target" in case else []
    source = Header(dict.fromkeys([*keys, *common], SCALAR))
    target = Header(dict.fromkeys([*case["target"], *common], SCALAR)) if "target" in case else None
    plan = surgeon.plan(source, rules_of(name, case["body"], expect="any"), target)
    wanted = expected if target is None else {*(expected & set(case["target"])), *common}
    assert {*plan.recipes, *plan.ties} == wanted


@pytest.mark.parametrize(
    ("name", "body"), [("rename", {"a": "b"}), ("keep", "a"), ("drop", "a"), ("strip_prefix", "a"), ("sub", {"q": "r"})]
)
def test_a_plan_refuses_a_rule_which_matches_nothing(name: str, body: Any) -> None:
    source = Header({"b.c": SCALAR})
    with pytest.raises(RulesError, match=rf"rules\.yaml:3:.*{name}: nothing"):
        surgeon.plan(source, rules_of(name, body))
    assert list(surgeon.plan(source, rules_of(name, body, expect="any")).recipes) == ["b.c"]


@pytest.mark.parametrize(("name", "case"), cases("refuses", of="names"))
def test_a_plan_says_where_the_refused_rule_stands(name: str, case: dict[str, Any]) -> None:
    source = Header(dict.fromkeys(case["keys"], SCALAR))
    target = Header(dict.fromkeys(case["target"], SCALAR)) if "target" in case else None
    with pytest.raises(RulesError) as caught:
        surgeon.plan(source, rules_of(name, case["body"]), target)
    assert all(problem.where.startswith("rules.yaml:3:") for problem in caught.value.problems)


def planned(name: str, case: dict[str, Any]) -> Any:
    source = Header({f"in.{i}": spec for i, spec in enumerate(specs_of(case["inputs"]))} | {"other": SCALAR})
    outputs = case.get("targets", case["outputs"])
    names = output_names(name, len(outputs))
    wanted = dict(zip(names, specs_of(outputs), strict=True))
    target = Header(wanted | {"other": SCALAR}) if "targets" in case or arity(name) in ("0->1", "1->n") else None
    return surgeon.plan(source, rules_of(name, placed(name, case["body"])), target), names


def is_planned(case: dict[str, Any]) -> bool:
    """Whether the plan's own comparison with the target lets the outputs pass: not where the case asks for another shape."""
    wanted = [spec.shape for spec in specs_of(case.get("targets", case["outputs"]))]
    return wanted == [spec.shape for spec in specs_of(case["outputs"])]


@pytest.mark.parametrize(("name", "case"), [case for case in cases("works", of="tensors", wants="inputs") if is_planned(case.values[1])])
def test_a_plan_gives_the_specs_which_the_case_says(name: str, case: dict[str, Any]) -> None:
    plan, names = planned(name, case)
    assert [str(plan.recipes[key].spec) for key in names] == case["outputs"]
    assert str(plan.recipes["other"].spec) == "f32[2]", "what does not match is left alone"


@pytest.mark.parametrize(("name", "case"), [case for case in VALUES if "targets" not in case.values[1]])
def test_a_state_dict_holds_the_values_which_the_case_says(name: str, case: dict[str, Any]) -> None:
    state = {f"in.{i}": torch.tensor(values, dtype=torch.float32) for i, values in enumerate(case["tensors"])}
    body = placed(name, case["body"])
    if arity(name) == "1->n":
        body |= {"target": "out.{part:" + "|".join("abc"[: len(case["gives"])]) + "}"}
    result = surgeon.remap(state | {"other": torch.ones(2)}, rules_of(name, body))
    other = result.pop("other")
    assert other.tolist() == [1.0, 1.0]
    assert [tensor.float().tolist() for tensor in result.values()] == case["gives"]
    assert all(torch.equal(state[key], torch.tensor(values)) for key, values in zip(state, case["tensors"], strict=True)), "inputs stay"


@pytest.mark.parametrize(("name", "case"), cases("refuses", of="tensors", wants="targets"))
def test_a_plan_names_key_and_rule_of_a_refused_tensor(name: str, case: dict[str, Any]) -> None:
    if arity(name) == "0->1":
        pytest.skip("the model's own tensor is no input of the file")
    with pytest.raises(RulesError) as caught:
        planned(name, case | {"outputs": case["targets"]})
    assert all(problem.where.startswith("rules.yaml:3:") for problem in caught.value.problems)
    assert "in.0" in str(caught.value)


@pytest.mark.parametrize(("name", "case"), [case for case in cases("works", of="tensors", wants="inputs") if is_planned(case.values[1])])
def test_a_written_file_holds_the_bytes_which_the_op_computes(name: str, case: dict[str, Any], tmp_path: Any) -> None:
    from safetensors.torch import load_file, save_file

    specs = specs_of(case["inputs"])
    if not specs or any(spec.dtype.is_packed for spec in specs):
        pytest.skip("nothing is read, or of a type for which safetensors has no name")
    tensors = inputs_of(name, specs)
    save_file({f"in.{i}": tensor for i, tensor in enumerate(tensors)}, tmp_path / "in.safetensors")
    outputs = case.get("targets", case["outputs"])
    names = output_names(name, len(outputs))
    target = Header(dict(zip(names, specs_of(outputs), strict=True)))
    plan = surgeon.plan(tmp_path / "in.safetensors", rules_of(name, placed(name, case["body"])), target)
    surgeon.write(plan, tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert [bytes_of(found[key]) for key in names] == list(map(bytes_of, bound_of(name, case).apply(tensors)))
