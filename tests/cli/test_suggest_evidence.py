"""`suggest --probe` and `suggest --values`: what they settle, what they show, what they refuse."""

import importlib
import json
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
from cli_runs import invoke, run

PAIR = """
import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self, *names):
        super().__init__()
        self.names = names
        for name in sorted(names):
            self.add_module(name, nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        print("running")
        tokens, channels = (getattr(self, name) for name in self.names)
        x = x + tokens(x.transpose(1, 2)).transpose(1, 2)
        return self.head((x + channels(torch.tanh(x))).mean(1))


class Deep(nn.Module):
    def __init__(self, depth, classes=3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.head(x)


class Wanting(Deep):
    def forward(self, x, *, mask):
        return super().forward(x * mask)


def two():
    return Deep(2)


def three():
    return Deep(3)


def other_classes():
    return Deep(2, 5)


def wanting():
    return Wanting(2)


def source():
    return Mixer("a", "b")


def target():
    return Mixer("zinc", "tin")


def inputs():
    return torch.randn(2, 8, 8)


def failing():
    raise ValueError("no inputs today")
"""
PROBE = ("--probe", "--probe-input", "2x8x8")
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "suggestion.json"


@pytest.fixture
def pair(folder, monkeypatch):
    """pair.py, and source.pt, the weights of its source."""
    monkeypatch.delitem(sys.modules, "pair", raising=False)
    (folder / "pair.py").write_text(PAIR)
    monkeypatch.syspath_prepend(folder)
    torch.manual_seed(0)
    torch.save(importlib.import_module("pair").source().state_dict(), folder / "source.pt")
    return folder


def test_without_evidence_it_is_a_question(pair):
    done = invoke("suggest", "pair:source", "pair:target", "-o", "rules.yaml", "--force")
    assert done.exit_code == 1
    assert "question 1" in (pair / "rules.yaml").read_text()


@pytest.mark.parametrize("inputs", ["2x8x8", "pair:inputs"])
@pytest.mark.parametrize("source", [("pair:source",), ("source.pt", "--source-model", "pair:source")])
def test_a_probe_settles_it(pair, source, inputs):
    done = invoke("suggest", source[0], "pair:target", *source[1:], "--probe", "--probe-input", inputs, "-o", "found.yaml")
    assert done.exit_code == 0, done.output
    assert "both models' outputs are equal" in done.stdout
    text = (pair / "found.yaml").read_text()
    assert '"a.{leaf}": "zinc.{leaf}"' in text
    assert "outputs equal" in text
    assert invoke("remap", "source.pt", "--rules", "found.yaml", "--target", "pair:target", "-o", "out.pt").exit_code == 0


def test_without_an_input_one_is_drawn_for_the_first_layers_and_told(pair):
    done = invoke("suggest", "pair:source", "pair:target", "--probe", "-o", "found.yaml")
    assert done.exit_code == 0, done.output
    assert "run on 2x8x8, drawn for their first layers (--probe-input gives another)" in done.stdout
    assert '"a.{leaf}": "zinc.{leaf}"' in (pair / "found.yaml").read_text()


def test_where_no_input_is_found_it_is_said_how_to_give_one(pair):
    done = invoke("suggest", "pair:wanting", "pair:wanting", "--probe")
    assert done.exit_code == 4
    assert "no input was found which both models take; tried 2x8x8, 2x8, 2x8x8x8" in done.stderr
    assert "give one: --probe-input 1x3x224x224, or pkg.module:inputs" in done.stderr


@pytest.mark.parametrize("source", [("pair:two",), ("two.pt", "--source-model", "pair:two")])
def test_outputs_which_differ_are_said_not_to_confirm_and_end_with_1(pair, source):
    torch.save(importlib.import_module("pair").two().state_dict(), "two.pt")
    assert invoke("suggest", source[0], "pair:three").exit_code == 0
    done = invoke("suggest", source[0], "pair:three", *source[1:], "--probe", "--probe-input", "2x8", "--format", "json")
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert (document["settled"], document["confirmed"]) == (True, False)
    (remark,) = document["remarks"]
    assert remark.startswith("the probe does not confirm these rules: both models' outputs differ by")
    assert "layers.2" in remark
    assert "tried: the rules as they are" in remark


@pytest.mark.parametrize(("words", "confirmed"), [(PROBE, True), ((), None)])
def test_the_document_tells_whether_the_outputs_are_equal(pair, words, confirmed):
    document = json.loads(invoke("suggest", "pair:source", "pair:target", *words, "--format", "json").stdout)
    assert document["confirmed"] is confirmed


def test_a_head_for_other_classes_which_hides_the_outputs_ends_with_0(pair):
    done = invoke("suggest", "pair:two", "pair:other_classes", "--probe", "--probe-input", "2x8", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["confirmed"] is None


def test_names_which_lie_are_seen_through_by_values(pair):
    weights = torch.load("source.pt")
    swapped = {"a": "b", "b": "a"}
    torch.save({".".join(swapped.get(word, word) for word in key.split(".")): value for key, value in weights.items()}, "target.pt")
    assert invoke("suggest", "source.pt", "target.pt").exit_code == 0
    done = invoke("suggest", "source.pt", "target.pt", "--values", "-o", "found.yaml")
    assert done.exit_code == 0
    assert "4 are elsewhere, and turned there" in done.stdout
    assert "the values are equal there, and not where names say" in (pair / "found.yaml").read_text()
    assert invoke("remap", "source.pt", "--rules", "found.yaml", "-o", "out.pt").exit_code == 0
    assert invoke("diff", "out.pt", "target.pt", "--values").exit_code == 0


def test_values_settle_it_where_both_sides_have_them(pair):
    weights = torch.load("source.pt")
    names = {"a": "zinc", "b": "tin"}
    torch.save({".".join(names.get(word, word) for word in key.split(".")): value for key, value in weights.items()}, "target.pt")
    assert invoke("suggest", "source.pt", "target.pt").exit_code == 1
    done = invoke("suggest", "source.pt", "target.pt", "--values")
    assert done.exit_code == 0
    assert "its values are the target's, and no other's" in done.stdout


def test_the_document_has_the_remarks_of_the_probe(pair):
    done = run("suggest", "pair:source", "pair:target", *PROBE, "--format", "json", cwd=pair)
    document = json.loads(done.stdout)  # what the models print goes elsewhere
    assert "running" in done.stderr
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["remarks"][0].startswith("both models' outputs are equal")
    assert document["settled"]
    assert json.loads(invoke("suggest", "pair:source", "pair:target", "--format", "json").stdout)["remarks"] == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--probe-input", "2x8x8"), 2, "--probe"),
        (("--source-model", "pair:source"), 2, "--source-model is for --probe"),
        (("--probe", "--probe-input", "2x9"), 4, "failed on the probe's inputs"),
        (("--probe", "--probe-input", "pair:failing"), 4, "no inputs today"),
        (("--probe", "--probe-input", "pair:missing"), 4, "has no 'missing'"),
        (("--values",), 4, "the source has no values"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(pair, words, code, message):
    done = invoke("suggest", "pair:source", "pair:target", *words, "-o", "found.yaml")
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (pair / "found.yaml").exists()


def test_a_checkpoint_alone_is_not_run(pair):
    done = invoke("suggest", "source.pt", "pair:target", *PROBE)
    assert done.exit_code == 4
    assert "--source-model pkg.module:factory" in done.stderr


@pytest.mark.parametrize("source", [("pair:source",), ("source.pt", "--source-model", "pair:source")])
def test_models_are_looked_at_only_where_a_probe_is_asked_for(pair, source):
    done = invoke("suggest", "source.pt", "pair:target", "--format", "json")
    assert done.exit_code == 1
    assert "running" not in done.stderr
    probed = invoke("suggest", source[0], "pair:target", *source[1:], *PROBE, "--format", "json")
    assert "running" in probed.stderr
    assert json.loads(probed.stdout)["settled"]


@pytest.mark.parametrize("suffix", ["json", "md", "html"])
def test_a_report_holds_the_evidence(pair, suffix):
    done = invoke("suggest", "pair:source", "pair:target", *PROBE, "--report", f"found.{suffix}")
    assert done.exit_code == 0, done.output
    text = (pair / f"found.{suffix}").read_text()
    assert "outputs are equal" in text


def test_what_a_probe_settles_loads_into_the_model(pair):
    assert invoke("suggest", "source.pt", "pair:target", "--source-model", "pair:source", *PROBE, "-o", "found.yaml").exit_code == 0
    assert invoke("remap", "source.pt", "--rules", "found.yaml", "--target", "pair:target", "-o", "out.pt").exit_code == 0
    weights, made = torch.load("source.pt"), torch.load("out.pt")
    assert torch.equal(made["zinc.weight"], weights["a.weight"])
    assert torch.equal(made["tin.weight"], weights["b.weight"])


def test_values_and_a_probe_go_together(pair):
    torch.manual_seed(7)  # not the seed with which the target is built
    torch.save(importlib.import_module("pair").source().state_dict(), "other.pt")
    words = ("suggest", "other.pt", "pair:target", "--values", "--source-model", "pair:source")
    assert invoke(*words[:4]).exit_code == 1
    done = invoke(*words, *PROBE)
    assert done.exit_code == 0
    assert "outputs are equal" in done.stdout


def test_the_arguments_of_the_factories_are_those_of_a_probe_too(pair):
    text = (pair / "pair.py").read_text()
    (pair / "wide.py").write_text(text + '\n\ndef wide(first):\n    return Mixer(first, "tin")\n')
    done = invoke("suggest", "wide:wide", "wide:wide", "--model-arg", "first=zinc", *PROBE)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["source.pt", "target.pt"])
def test_a_damaged_file_is_told_with_its_name(pair, name):
    weights = torch.load("source.pt")
    names = {"a": "zinc", "b": "tin"}
    torch.save({".".join(names.get(word, word) for word in key.split(".")): value for key, value in weights.items()}, "target.pt")
    data = bytearray((pair / name).read_bytes())
    data[data.index(weights["a.weight"].numpy().tobytes())] ^= 1
    (pair / name).write_bytes(data)
    done = invoke("suggest", "source.pt", "target.pt", "--values", "-o", "found.yaml")
    assert done.exit_code == 3
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (pair / "found.yaml").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("source.pt", "pair:target", "--probe-input", "2x8x8", "--source-model", "pair:source"),
            2,
            "--probe-input is for --probe",
        ),
        (("source.pt", "pair:target", "--source-model", "pair:source"), 2, "--source-model is for --probe"),
        (("source.pt", "pair:target", "--probe", "--probe-input", "0x6x8", "--source-model", "pair:source"), 4, "0x6x8 is empty"),
        (("source.pt", "source.pt", *PROBE, "--source-model", "pair:source"), 4, "TARGET has no code to run"),
        (("source.pt", "pair:target", *PROBE, "--source-model", "source.pt"), 4, "the source's model is no model"),
        (("source.pt", "pair:target", *PROBE, "--source-model", "pair:target"), 4, "SOURCE does not fit Mixer"),
        (("source.pt", "pair:target", *PROBE, "--source-model", "pair:nothing"), 4, "has no 'nothing'"),
        (("source.pt", "pair:target", "--probe", "--probe-input", "", "--source-model", "pair:source"), 4, "is no input"),
        (("source.pt", "pair:target", "--probe", "--probe-input", "9" * 5000, "--source-model", "pair:source"), 4, "write its shape"),
        (("missing.pt", "pair:target", *PROBE, "--source-model", "pair:source"), 5, "missing.pt"),
        (("cut.safetensors", "pair:target", "--values"), 3, "cut.safetensors"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(pair, words, code, message):
    done = invoke("suggest", *words)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_names_the_evidence(folder):
    done = invoke("suggest", "--help")
    for option in ("--values", "--probe", "--probe-input SHAPE", "--source-model FACTORY"):
        assert option in done.stdout
