"""tests/cases/*.yaml: what each op changes, and beside it what it leaves alone, refuses and does not even read."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from op_samples import inputs_of, spec_of, specs_of

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.protocol import Copy, Drop, Edit, Move, NameOp, TensorOp, Tie
from ckpt_surgeon.ops.registry import OPS

CASES = Path(__file__).parents[1] / "cases"
FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*.yaml"))}


def read(name: str, body: Any) -> Any:
    """The op of a body, as a rules file has it."""
    op = OPS[name]
    if op.body.whole and op.body.whole != "match" and (op.body.only or not isinstance(body, dict)):
        return op(**{op.body.whole: body})
    return op(**body)


# What these are asked of keys always has an answer.
NEVER_REFUSING = ("add_prefix", "strip_prefix", "keep", "drop", "unwrap")


def cases(kind: str, *, of: str = "names and tensors", wants: str = "") -> list[Any]:
    """The cases of one kind, of the ops on names or on tensors or both; only those with the entry `wants`, where it is given."""
    return [
        pytest.param(name, case, id=f"{name}: {case.get('name', case['body'])}")
        for name, content in FILES.items()
        if ("tensors" if hasattr(OPS[name], "infer") else "names") in of
        for case in content.get(kind, [])
        if not wants or wants in case
    ]


def test_every_op_has_its_case_file() -> None:
    assert sorted(FILES) == sorted(OPS)
    assert all(content["op"] == name for name, content in FILES.items())


@pytest.mark.parametrize("name", FILES)
def test_a_case_file_shows_what_works_and_what_is_refused(name: str) -> None:
    assert set(FILES[name]) <= {"op", "works", "refuses", "bad"}
    assert FILES[name]["works"]
    assert FILES[name]["bad"]
    assert FILES[name].get("refuses") or FILES[name]["op"] in NEVER_REFUSING


def edits_of(case: dict[str, Any]) -> list[Edit]:
    return [
        *(Move(source, target) for source, target in case.get("moves", {}).items()),
        *(Drop(source) for source in case.get("leaves", [])),
        *(Drop(source, is_rest=True) for source in case.get("rest", [])),
        *(Copy(source, target) for target, source in case.get("copies", {}).items()),
        *(Tie(source, target) for target, source in case.get("ties", {}).items()),
    ]


@pytest.mark.parametrize(("name", "case"), cases("works", of="names"))
def test_names_change_as_the_case_says_and_others_stay(name: str, case: dict[str, Any]) -> None:
    op: NameOp = read(name, case["body"])
    expected = edits_of(case)
    keys = list(dict.fromkeys([*(edit.source for edit in expected), *case.get("stays", [])]))
    found = op.edits(keys, case.get("target"))
    assert sorted(found, key=str) == sorted(expected, key=str)
    positions = [keys.index(edit.source) for edit in found]
    assert positions == sorted(positions), "edits come in table order"


@pytest.mark.parametrize(("name", "case"), cases("refuses", of="names"))
def test_names_are_refused_as_the_case_says(name: str, case: dict[str, Any]) -> None:
    op: NameOp = read(name, case["body"])
    with pytest.raises(RulesError) as caught:
        op.edits(case["keys"], case.get("target"))
    assert [word for word in case["says"] if word not in str(caught.value)] == []
    assert not any(problem.where for problem in caught.value.problems), "the place is for the plan to fill in"


@pytest.mark.parametrize(("name", "case"), cases("bad"))
def test_a_wrong_rule_is_refused_as_it_is_read(name: str, case: dict[str, Any]) -> None:
    with pytest.raises(RulesError) as caught:
        read(name, case["body"])
    assert [word for word in case["says"] if word not in str(caught.value)] == []


def bound_of(name: str, case: dict[str, Any]) -> TensorOp:
    outputs = case.get("outputs", case.get("gives", ["one"]))
    count = outputs if isinstance(outputs, int) else len(outputs)
    targets = specs_of(case["targets"]) if "targets" in case else None
    return read(name, case["body"]).bind(len(targets) if targets else count, targets)


@pytest.mark.parametrize(("name", "case"), cases("works", of="tensors", wants="inputs"))
def test_specs_come_out_as_the_case_says(name: str, case: dict[str, Any]) -> None:
    op = bound_of(name, case)
    assert list(map(str, op.infer(specs_of(case["inputs"])))) == case["outputs"]
    if case.get("planned"):
        return
    tensors = inputs_of(name, specs_of(case["inputs"]))
    assert [str(spec_of(tensor)) for tensor in op.apply(tensors)] == case["outputs"]


@pytest.mark.parametrize(("name", "case"), cases("works", of="tensors", wants="tensors"))
def test_values_come_out_as_the_case_says(name: str, case: dict[str, Any]) -> None:
    import torch

    op = bound_of(name, case)
    tensors = tuple(torch.tensor(values, dtype=torch.float32) for values in case["tensors"])
    assert [tensor.float().tolist() for tensor in op.apply(tensors)] == case["gives"]


@pytest.mark.parametrize(("name", "case"), cases("refuses", of="tensors"))
def test_tensors_are_refused_as_the_case_says(name: str, case: dict[str, Any]) -> None:
    op = read(name, case["body"])
    targets = specs_of(case["targets"]) if "targets" in case else None
    with pytest.raises(RulesError) as caught:
        op.bind(case.get("outputs", len(targets) if targets else 1), targets).infer(specs_of(case["inputs"]))
    assert [word for word in case["says"] if word not in str(caught.value)] == []
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(("name", "case"), cases("works", of="tensors", wants="inputs"))
def test_a_rule_without_a_target_says_that_it_needs_one(name: str, case: dict[str, Any]) -> None:
    op: TensorOp = read(name, case["body"])
    assert not bound_of(name, case).needs_target or case["body"].get("value") == "model"
    if op.needs_target:
        with pytest.raises(RulesError, match="target"):
            op.infer(specs_of(case["inputs"]))
