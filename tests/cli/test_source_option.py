"""`--source ALIAS=PATH`, wherever rules are read; and in reports `alias::key`."""

import json

import pytest
import torch
from cli_runs import invoke, weights
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.usefixtures("folder")

SWAP = ("-e", 'drop: "2.**"', "-e", 'copy: {"five::2.{leaf}": "2.{leaf}"}')
FIVE = ("--source", "five=other.safetensors")


def done(*words):
    result = invoke(*words)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return result


def test_remap_takes_keys_of_another_file():
    done("remap", "plain.safetensors", *SWAP, *FIVE, "-o", "out.safetensors", "--target", "other.safetensors", "--verify")
    wanted = {**weights(), **{key: tensor for key, tensor in weights(classes=5).items() if key.startswith("2.")}}
    found = load_file("out.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_plan_names_keys_of_other_sources_with_their_alias():
    document = json.loads(done("remap", "plain.safetensors", *SWAP, *FIVE, "--dry-run", "--format", "json").stdout)
    assert document["targets"]["2.bias"] == {"sources": ["five::2.bias"], "ops": [], "class": "exact"}
    assert "five::2.bias" in done("explain", "plain.safetensors", "2.bias", *SWAP, *FIVE).stdout
    assert "2.bias" in done("explain", "plain.safetensors", "five::2.bias", *SWAP, *FIVE).stdout


def test_diff_reads_other_sources():
    done("diff", "plain.safetensors", "other.safetensors", *SWAP, *FIVE)
    done("diff", "plain.safetensors", "other.safetensors", *SWAP, *FIVE, "--values")
    save_file({key: tensor + 1 for key, tensor in weights(classes=5).items()}, "more.safetensors")
    result = invoke("diff", "plain.safetensors", "other.safetensors", *SWAP, "--source", "five=more.safetensors", "--values")
    assert result.exit_code == 1
    assert "2.bias" in result.stdout


def test_verify_tells_the_source_from_the_others(folder):
    done("remap", "plain.safetensors", *SWAP, *FIVE, "-o", "out.safetensors")
    words = ("verify", "out.safetensors", "other.safetensors", *SWAP, *FIVE)
    done(*words)
    done(*words, "--source", "plain.safetensors")
    save_file({key: tensor + 1 for key, tensor in weights(classes=5).items()}, folder / "x=1.safetensors")
    assert invoke(*words, "--source", "x=1.safetensors").exit_code == 1  # a path which is there is no alias


def test_the_command_line_wins_over_the_file(folder):
    (folder / "swap.yaml").write_text(
        'version: 1\nsources: {five: nowhere.pt}\nrules: [{drop: "2.**"}, {copy: {"five::2.{leaf}": "2.{leaf}"}}]\n'
    )
    missing = invoke("remap", "plain.safetensors", "--rules", "swap.yaml", "--dry-run")
    assert missing.exit_code == 5
    assert "nowhere.pt" in missing.stderr
    done("remap", "plain.safetensors", "--rules", "swap.yaml", *FIVE, "--dry-run")


REFUSED = {
    "no alias": (("remap", "plain.safetensors", "--dry-run", "--source", "other.safetensors"), 2, "not of the form ALIAS=PATH"),
    "twice": (("remap", "plain.safetensors", "--dry-run", *FIVE, *FIVE), 2, "'five' is given twice"),
    "two sources of a verification": (
        ("verify", "plain.safetensors", "plain.safetensors", "--source", "a", "--source", "b"),
        2,
        "two sources without an alias",
    ),
    "not declared": (("remap", "plain.safetensors", "--dry-run", *SWAP), 4, "no source is called 'five'"),
}


@pytest.mark.parametrize(("words", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said(words, code, says):
    result = invoke(*words)
    assert result.exit_code == code
    assert says in result.stderr


def test_a_source_which_nothing_uses_is_noted():
    assert "the source 'five' is declared, and nothing of it is used" in done("remap", "plain.safetensors", *FIVE, "--dry-run").stdout


def test_a_guard_which_does_not_hold_ends_with_1_and_its_place(folder):
    (folder / "guards.yaml").write_text(
        'version: 1\nassert:\n  - count: {match: "2.*", equals: 2}\n  - shape: {match: 2.weight, is: [5, 4]}\n'
    )
    words = ("remap", "plain.safetensors", "--rules", "guards.yaml")
    for ending in (("--dry-run",), ("-o", "out.pt")):
        result = invoke(*words, *ending)
        assert result.exit_code == 1
        assert "guards.yaml:4:5: shape: [5, 4] wanted; 2.weight is f32[3, 4]" in result.stderr
    assert not (folder / "out.pt").exists()
    done("explain", "plain.safetensors", "2.weight", "--rules", "guards.yaml")
    done(*words, *SWAP, *FIVE, "-o", "out.pt")
