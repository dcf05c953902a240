"""`diff --values`: the exit code is 0 only where nothing differs; each form shows the figures; a model has none."""

import json

import pytest
import torch
from cli_runs import invoke, weights
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("folder")


def save(name, **changes):
    save_file({**weights(), **changes}, name)


def changed():
    tensor = weights()["0.bias"]
    tensor[1] += 1
    return tensor


CASES = {
    "equal": ({}, 0),
    "another value": ({"0.bias": changed()}, 1),
    "another zero": ({"1.num_batches_tracked": torch.tensor(1)}, 1),
    "another dtype": ({"0.bias": weights()["0.bias"].double()}, 1),
    "another shape": ({"0.bias": torch.zeros(5)}, 1),
    "another key": ({"more": torch.zeros(5)}, 1),
}


@pytest.mark.parametrize(("changes", "code"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("words", [(), ("--stat",), ("--format", "json")])
def test_the_exit_code_says_whether_anything_differs(changes, code, words):
    save("changed.safetensors", **changes)
    result = invoke("diff", "changed.safetensors", "plain.safetensors", "--values", *words)
    assert result.exit_code == code, result.output


def test_values_which_nobody_asked_for_make_no_difference():
    save("changed.safetensors", **{"0.bias": changed().double()})
    assert invoke("diff", "changed.safetensors", "plain.safetensors").exit_code == 0


def test_allowed_keys_are_no_difference_here_either():
    save("changed.safetensors", more=torch.zeros(5))
    words = ("diff", "changed.safetensors", "plain.safetensors", "--values", "--allow-unexpected", "more")
    assert invoke(*words).exit_code == 0


def test_the_table_shows_what_differs_and_by_how_much():
    save("changed.safetensors", **{"0.bias": changed()})
    lines = invoke("diff", "changed.safetensors", "plain.safetensors", "--values").output.splitlines()
    assert lines[0] == "9 of 9 keys match (100.0 % of elements)"
    assert lines[1].startswith("values: 8 of 9 tensors are equal; ")
    (row,) = [line.split() for line in lines if line.startswith("  0.bias")]
    assert (row[2], row[4:]) == ("1", ["1", "of", "4"])


def test_rules_come_before_the_values():
    words = ("diff", "wrapped.pth", "plain.safetensors", "-e", "strip_prefix: module.", "--values", "--format", "json")
    result = invoke(*words)
    assert result.exit_code == 0
    assert json.loads(result.output)["values"]["equal"] == list(json.loads(result.output)["matched"])


def test_a_report_has_the_values_too():
    save("changed.safetensors", **{"0.bias": changed()})
    assert invoke("diff", "changed.safetensors", "plain.safetensors", "--values", "--report", "out.html").exit_code == 1
    with open("out.html", encoding="utf-8") as file:
        assert "values differ: 1 key" in file.read()


@pytest.mark.parametrize(("words", "role"), [(("plain.safetensors", "nets:net"), "target"), (("nets:net", "plain.safetensors"), "source")])
def test_a_model_has_no_values_to_compare(words, role):
    result = invoke("diff", *words, "--values")
    assert result.exit_code == 4
    assert f"the {role} has no values" in result.stderr
    assert "hint: give a checkpoint" in result.stderr
