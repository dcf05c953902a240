"""`--digest` of remap and inspect: what it says, and beside what it cannot stand."""

import json
import sys

import pytest
from cli_runs import invoke

import ckpt_surgeon as surgeon

pytestmark = pytest.mark.usefixtures("folder")


def lines_of(result):
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


def test_remap_and_inspect_say_the_same():
    digest = surgeon.digest("plain.safetensors")
    line = f"digest: sha256:{digest.whole}"
    assert line in lines_of(invoke("remap", "plain.safetensors", "-o", "out.pt", "--digest"))
    assert line in lines_of(invoke("inspect", "out.pt", "--digest"))
    assert line in lines_of(invoke("remap", "wrapped.pth", "-e", "strip_prefix: module.", "-o", "other.pt", "--digest=sha256"))


def test_without_the_option_nothing_is_said():
    assert "digest" not in invoke("remap", "plain.safetensors", "-o", "out.pt").stdout
    assert "digest" not in invoke("inspect", "plain.safetensors", "-v").stdout


@pytest.mark.parametrize("words", [("remap", "plain.safetensors", "-o", "out.pt", "--force"), ("inspect", "plain.safetensors")])
def test_each_tensor_is_told_in_detail_and_to_programs(words):
    digests = surgeon.digest("plain.safetensors")
    short = invoke(*words, "--digest").stdout
    assert not [key for key, digest in digests.tensors.items() if digest in short]
    told = [line.split() for line in invoke(*words, "--digest", "-v").stdout.splitlines()]
    assert [key for key, digest in digests.tensors.items() if not any(key in line and digest in line for line in told)] == []
    document = json.loads(invoke(*words, "--digest", "--format", "json").stdout)
    assert document["digests"] == {"algorithm": "sha256", "whole": digests.whole, "tensors": dict(digests.tensors)}


def test_a_report_holds_each_tensor():
    invoke("remap", "plain.safetensors", "-o", "out.pt", "--digest", "--report", "done.json")
    with open("done.json", encoding="utf-8") as file:
        assert json.load(file)["digests"]["tensors"] == dict(surgeon.digest("out.pt").tensors)


def test_of_chosen_keys_the_whole_stays_the_whole():
    digests = surgeon.digest("plain.safetensors")
    document = json.loads(invoke("inspect", "plain.safetensors", "--digest", "--match", "2.*", "--format", "json").stdout)
    assert document["digests"]["whole"] == digests.whole
    assert sorted(document["digests"]["tensors"]) == ["2.bias", "2.weight"]


@pytest.mark.parametrize(
    "words",
    [
        ("remap", "plain.safetensors", "-o", "out.pt", "--dry-run", "--digest"),
        ("remap", "plain.safetensors", "--dry-run", "--digest"),
        ("remap", "plain.safetensors", "-e", "add_prefix: m.", "--in-place", "--digest"),
        ("remap", "plain.safetensors", "-e", "add_prefix: m.", "--in-place", "--dry-run", "--digest=sha256"),
    ],
)
def test_where_no_tensor_is_written_there_is_none_to_take(words):
    result = invoke(*words)
    assert result.exit_code == 2
    assert "writes no tensors" in result.stderr
    assert "`inspect CKPT --digest`" in result.stderr
    assert list(surgeon.inspect("plain.safetensors")) == list(surgeon.digest("plain.safetensors").tensors)
    assert "0.weight" in surgeon.inspect("plain.safetensors")


@pytest.mark.parametrize(
    "words", [("remap", "-o", "out.pt", "--digest", "plain.safetensors"), ("inspect", "--digest", "plain.safetensors")]
)
def test_a_path_behind_the_bare_option_is_taken_for_an_algorithm_and_that_is_said(words):
    result = invoke(*words)
    assert result.exit_code == 2
    assert "'plain.safetensors' is no digest; known are sha256, blake3; a bare --digest stands behind the paths" in result.stderr


@pytest.mark.parametrize("words", [("remap", "plain.safetensors", "-o", "out.pt"), ("inspect", "plain.safetensors")])
def test_an_algorithm_which_is_not_installed_is_a_usage_error(words, monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "blake3", None)
    result = invoke(*words, "--digest", "blake3")
    assert result.exit_code == 2
    assert "blake3 is not installed; install ckpt-surgeon[digest], or take sha256" in result.stderr
    assert not (folder / "out.pt").exists()


def test_a_model_has_no_values_to_take():
    result = invoke("inspect", "nets:net", "--digest")
    assert result.exit_code == 4
    assert "has no values" in result.stderr
