"""`invert`, `remap --check-roundtrip` and `remap --once`: what they write, what they refuse, with which code they end."""

import json

import pytest
import torch
from cli_runs import invoke, run
from safetensors.torch import load_file, save_file

STRIP = ("-e", "strip_prefix: module.")
MERGE = ("-e", "concat: {source: '{i:int}.bias', target: biases}")


def test_the_inverse_stands_on_stdout(folder):
    done = invoke("invert", "wrapped.pth", "--rules", "rules.yaml")
    assert done.exit_code == 0
    assert done.stdout == ('version: 1\nrules:\n  - add_prefix: module.\n    why: "undoes rules.yaml:3:5 (strip_prefix)"\n')


def test_the_inverse_leads_back(folder):
    assert invoke("invert", "wrapped.pth", "--rules", "rules.yaml", *MERGE, "-o", "back.yaml").exit_code == 0
    assert invoke("remap", "wrapped.pth", "--rules", "rules.yaml", *MERGE, "-o", "there.pth").exit_code == 0
    done = invoke("remap", "there.pth", "--rules", "back.yaml", "-o", "back.pth")
    assert done.exit_code == 0
    assert invoke("diff", "back.pth", "wrapped.pth", "--values").exit_code == 0


def test_a_model_may_print_without_spoiling_the_rules(folder):
    done = run("invert", "wrapped.pth", *STRIP, "--target", "nets:chatty", cwd=folder)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "version: 1")
    assert "hello from the model" in done.stderr


def test_what_cannot_be_undone_is_named_with_its_place(folder):
    rules = ("drop: 2.bias", "transpose: {match: 2.weight}", "cast: {match: 0.weight, dtype: float16}")
    (folder / "lossy.yaml").write_text("version: 1\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules) + "allow: {casts: '**'}\n")
    done = invoke("invert", "plain.safetensors", "--rules", "lossy.yaml", "-o", "back.yaml")
    assert done.exit_code == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        "error: lossy.yaml:3:5: drop: left out, and nowhere else: 2.bias",
        "error: lossy.yaml:5:5: cast: f32[4, 3, 3, 3] -> f16[4, 3, 3, 3] cannot be undone bit for bit: 0.weight",
    ]
    assert "hint:" in done.stderr
    assert not (folder / "back.yaml").exists()


@pytest.mark.parametrize(("words", "code"), [((), 5), (("--force",), 0)])
def test_an_existing_file_is_replaced_only_by_force(folder, words, code):
    (folder / "back.yaml").write_text("mine")
    assert invoke("invert", "wrapped.pth", *STRIP, "-o", "back.yaml", *words).exit_code == code
    assert ((folder / "back.yaml").read_text() == "mine") == (code == 5)


@pytest.mark.parametrize("out", ["wrapped.pth", "rules.yaml"])
def test_nothing_which_is_read_is_replaced(folder, out):
    before = (folder / out).read_bytes()
    assert invoke("invert", "wrapped.pth#state_dict", "--rules", "rules.yaml", "-o", out, "--force").exit_code == 5
    assert (folder / out).read_bytes() == before


def test_rules_which_no_file_may_hold_are_not_written(folder):
    long = {f"{letter}.{'x' * 4000}": torch.zeros(1) for letter in (chr(code) for code in range(0x4E00, 0x4E00 + 300))}
    save_file(long, folder / "long.safetensors")
    done = invoke("invert", "long.safetensors", "-e", "replace: {'{a}.{b}': '{a}{b}'}", "-o", "back.yaml")
    assert done.exit_code == 4
    assert "a rules file has at most 1000000" in done.stderr
    assert not (folder / "back.yaml").exists()


@pytest.mark.parametrize("out", ["there.pth", "there.safetensors"])
def test_there_and_back_is_checked_before_the_output_takes_its_name(folder, out):
    done = invoke("remap", "wrapped.pth", *STRIP, *MERGE, "--bare", "-o", out, "--check-roundtrip")
    assert done.exit_code == 0
    assert "there and back: all 9 tensors of the source come back bit for bit" in done.stdout


def test_what_does_not_come_back_is_not_written(folder):
    done = invoke("remap", "plain.safetensors", "-e", "drop: 2.bias", "-o", "there.safetensors", "--check-roundtrip")
    assert done.exit_code == 1
    assert "left out, and nowhere else: 2.bias" in done.stderr
    assert not (folder / "there.safetensors").exists()


@pytest.mark.parametrize("words", [("--dry-run",), ("--in-place",)])
def test_there_and_back_needs_an_output(folder, words):
    done = invoke("remap", "plain.safetensors", "-e", "rename: {2.bias: b}", *words, "--check-roundtrip")
    assert done.exit_code == 2
    assert "--check-roundtrip" in done.stderr


ENCODER = ("-e", 'rename: {"{p:path}": "encoder.{p}"}')
NOTE = "these rules have made the source already: it bears their digest"


def test_a_second_run_of_the_same_rules_warns(folder):
    assert NOTE not in invoke("remap", "plain.safetensors", *ENCODER, "-o", "once.safetensors").stderr
    done = invoke("remap", "once.safetensors", *ENCODER, "-o", "twice.safetensors")
    assert done.exit_code == 0
    assert f"warning: {NOTE} (--once refuses it)" in done.stderr
    assert NOTE in done.stdout
    assert "9 of 9 keys bear the prefix encoder. already: encoder.encoder." in done.stdout
    dry = json.loads(invoke("remap", "once.safetensors", *ENCODER, "--dry-run", "--format", "json").stdout)
    assert dry["notes"][0] == NOTE
    assert "encoder.encoder.0.weight" in load_file("twice.safetensors")


@pytest.mark.parametrize("out", [("-o", "twice.safetensors"), ("--in-place",), ("--dry-run",)])
def test_a_second_run_is_refused_where_that_is_asked_for(folder, out):
    assert invoke("remap", "plain.safetensors", *ENCODER, "-o", "once.safetensors", "--once").exit_code == 0
    before = (folder / "once.safetensors").read_bytes()
    done = invoke("remap", "once.safetensors", *ENCODER, *out, "--once")
    assert done.exit_code == 1
    assert f"error: {NOTE}" in done.stderr
    assert "hint:" in done.stderr
    assert not (folder / "twice.safetensors").exists()
    assert (folder / "once.safetensors").read_bytes() == before


def test_other_rules_run_on_what_rules_have_made(folder):
    invoke("remap", "plain.safetensors", *ENCODER, "-o", "once.safetensors")
    done = invoke("remap", "once.safetensors", "-e", "strip_prefix: encoder.", "-o", "back.safetensors", "--once")
    assert (done.exit_code, done.stderr) == (0, "")
    again = invoke("remap", "back.safetensors", *ENCODER, "-o", "again.safetensors", "--once")
    assert again.exit_code == 0


def test_a_pickled_file_bears_no_stamp(folder):
    invoke("remap", "plain.safetensors", *ENCODER, "-o", "once.pth")
    done = invoke("remap", "once.pth", *ENCODER, "-o", "twice.pth", "--once")
    assert done.exit_code == 0
    assert "bear the prefix encoder. already" in done.stdout
    assert "encoder.encoder.0.weight" in torch.load("twice.pth", weights_only=True)


def test_a_stamp_of_no_rules_is_none(folder):
    save_file({"a": torch.zeros(2)}, folder / "a.safetensors", {"ckpt_surgeon.rules": "0" * 64})
    assert invoke("remap", "a.safetensors", "-o", "b.safetensors", "--once").exit_code == 0
