"""`suggest`: what it writes, what it shows, with which code it ends, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_runs import environment, invoke, run
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.rules import read_rules

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "suggestion.json"


def _twins(folder):
    """Two parts of the source are alike in all but their names, which say nothing."""
    block = {f"{i}.weight": torch.zeros(3, 4 + i) for i in range(3)}
    save_file({f"{part}.{key}": tensor.clone() for part in ("one", "two") for key, tensor in block.items()}, folder / "twins.safetensors")
    save_file(block, folder / "block.safetensors")


def test_the_rules_which_are_written_make_the_source_fit(folder):
    done = invoke("suggest", "wrapped.pth", "nets:net", "-o", "found.yaml")
    assert done.exit_code == 0
    assert "9 of 9 keys are settled: 1 rule, 1 names and ops" in done.stdout
    assert "wrote found.yaml" in done.stdout
    assert invoke("remap", "wrapped.pth", "--rules", "found.yaml", "--target", "nets:net", "-o", "out.safetensors", "--bare").exit_code == 0
    assert invoke("diff", "out.safetensors", "plain.safetensors", "--values").exit_code == 0


def test_without_a_file_the_rules_stand_in_the_report(folder):
    done = invoke("suggest", "wrapped.pth", "plain.safetensors")
    assert done.exit_code == 0
    assert "\nrules\nversion: 1\nrules:\n" in done.stdout


def test_other_classes_are_new_and_the_old_ones_left_out(folder):
    done = invoke("suggest", "wrapped.pth", "other.safetensors", "-o", "found.yaml")
    assert done.exit_code in (0, 1)
    plan = surgeon.plan("wrapped.pth", "found.yaml", "other.safetensors", allow_missing=["2.*"], allow_unexpected=["**"])
    assert not {"2.weight", "2.bias"} & set(plan.outcome.exact + plan.outcome.renamed)


def test_what_is_open_ends_with_1_and_stands_in_the_file_as_comments(folder):
    _twins(folder)
    done = invoke("suggest", "twins.safetensors", "block.safetensors", "-o", "found.yaml")
    assert done.exit_code == 1
    assert "open: 3 keys" in done.stdout
    text = (folder / "found.yaml").read_text()
    assert "  ## question 1: " in text
    assert read_rules("found.yaml").rules == ()


def test_a_lower_bound_settles_more(folder):
    _twins(folder)
    done = invoke("suggest", "twins.safetensors", "block.safetensors", "--min-confidence", "0")
    assert done.exit_code == 0
    assert "3 of 3 keys are settled" in done.stdout


@pytest.mark.parametrize("least", ["-0.1", "1.5", "much"])
def test_a_bound_out_of_range_is_a_usage_error(folder, least):
    assert invoke("suggest", "wrapped.pth", "nets:net", "--min-confidence", least).exit_code == 2


def test_the_document_keeps_to_its_schema(folder):
    jsonschema = pytest.importorskip("jsonschema")
    _twins(folder)
    for source, target, code in (("wrapped.pth", "nets:net", 0), ("twins.safetensors", "block.safetensors", 1)):
        done = invoke("suggest", source, target, "--format", "json")
        assert done.exit_code == code
        document = json.loads(done.stdout)
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))
        assert (document["source"], document["target"], document["settled"]) == (source, target, code == 0)


@pytest.mark.parametrize(("words", "code"), [((), 5), (("--force",), 0)])
def test_an_existing_file_is_replaced_only_by_force(folder, words, code):
    (folder / "found.yaml").write_text("mine")
    assert invoke("suggest", "wrapped.pth", "nets:net", "-o", "found.yaml", *words).exit_code == code
    assert ((folder / "found.yaml").read_text() == "mine") == (code == 5)


@pytest.mark.parametrize("out", ["wrapped.pth", "plain.safetensors"])
def test_nothing_which_is_read_is_replaced(folder, out):
    before = (folder / out).read_bytes()
    assert invoke("suggest", "wrapped.pth#state_dict", "plain.safetensors", "-o", out, "--force").exit_code == 5
    assert (folder / out).read_bytes() == before


def test_a_model_takes_its_arguments_and_may_print(folder):
    done = invoke("suggest", "other.safetensors", "nets:net", "--model-arg", "classes=5", "-o", "found.yaml")
    assert done.exit_code == 0
    done = run("suggest", "wrapped.pth", "nets:chatty", "--format", "json", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["settled"]
    assert "hello from the model" in done.stderr


@pytest.mark.parametrize(("source", "code"), [("nowhere.pth", 5), ("page.pth", 3), ("cut.safetensors", 3)])
def test_a_source_which_cannot_be_read_is_told_as_ever(folder, source, code):
    done = invoke("suggest", source, "nets:net", "-o", "found.yaml")
    assert done.exit_code == code
    assert done.stderr.startswith("error: ")
    assert not (folder / "found.yaml").exists()


def test_the_same_text_twice(folder):
    first, second = (invoke("suggest", "wrapped.pth", "nets:net").stdout for _ in range(2))
    assert first == second


class TestTheLibrary:
    def test_gives_rules_which_load(self, folder):
        rules = surgeon.suggest("wrapped.pth", "plain.safetensors")
        assert isinstance(rules, surgeon.Rules)
        assert surgeon.diff("wrapped.pth", "plain.safetensors", rules).same

    def test_takes_state_dicts_modules_and_headers(self, folder):
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5))
        table = {f"net.{key}": tensor for key, tensor in model.state_dict().items()}
        rules = surgeon.suggest(table, model)
        assert list(surgeon.remap(table, rules, model)) == list(model.state_dict())
        assert surgeon.suggest(surgeon.inspect("wrapped.pth"), surgeon.inspect("plain.safetensors")).rules

    def test_gives_the_whole_suggestion_too(self, folder):
        found = surgeon.suggestion("wrapped.pth", "plain.safetensors")
        assert isinstance(found, surgeon.Suggestion)
        assert found.is_settled
        assert found.rules == surgeon.suggest("wrapped.pth", "plain.safetensors")
        assert set(found.plan.recipes) == set(surgeon.inspect("plain.safetensors"))

    @pytest.mark.parametrize("least", [-0.1, 1.1])
    def test_refuses_a_confidence_out_of_range(self, folder, least):
        with pytest.raises(SurgeryError, match="from 0 to 1"):
            surgeon.suggestion("wrapped.pth", "plain.safetensors", min_confidence=least)

    def test_two_headers_alike_need_no_rule(self, folder):
        found = surgeon.suggestion("plain.safetensors", "plain.safetensors")
        assert (found.rules.rules, found.size, found.is_settled) == ((), 0, True)


def test_it_runs_without_torch(folder):
    code = (
        "import sys; from ckpt_surgeon.cli import main\n"
        "try: main(['suggest', 'plain.safetensors', 'plain.safetensors'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=False, capture_output=True).returncode == 0
