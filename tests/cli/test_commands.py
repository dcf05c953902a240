"""Each command on real small files: what it says, where it says it, how it ends."""

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from cli_runs import invoke, weights
from safetensors.torch import load_file

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
REMAP = ("remap", "wrapped.pth", "--rules", "rules.yaml", "--target", "nets:net")

pytestmark = pytest.mark.usefixtures("folder")


def words_of(result):
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("inspect", "plain.safetensors"), 0),
        (("inspect", "wrapped.pth"), 0),
        (("inspect", "wrapped.pth#state_dict"), 0),
        (("inspect", "nets:net"), 0),
        (("inspect", "plain.safetensors", "--match", "0.*"), 0),
        (("inspect", "plain.safetensors", "--match", "nothing"), 1),
        (("diff", "plain.safetensors", "plain.safetensors"), 0),
        (("diff", "plain.safetensors", "nets:net"), 0),
        (("diff", "nets:net", "plain.safetensors"), 0),
        (("diff", "wrapped.pth", "nets:net"), 1),
        (("diff", "wrapped.pth", "nets:net", "--rules", "rules.yaml"), 0),
        (("diff", "wrapped.pth", "nets:net", "-e", "strip_prefix: module."), 0),
        (("diff", "other.safetensors", "plain.safetensors"), 1),
        (("diff", "other.safetensors", "nets:net", "--model-arg", "classes=5"), 0),
        (("diff", "plain.safetensors", "plain.safetensors", "--require-coverage", "1"), 0),
        (("explain", "wrapped.pth", "0.weight", "--rules", "rules.yaml"), 0),
        (("explain", "wrapped.pth", "module.0.weight", "--rules", "rules.yaml"), 0),
        (("explain", "wrapped.pth", "no.such.key", "--rules", "rules.yaml"), 4),
        ((*REMAP, "--dry-run"), 0),
        (("remap", "wrapped.pth", "--target", "nets:net", "--dry-run"), 1),
        (("verify", "plain.safetensors", "nets:net", "--device", "cpu"), 0),
        (("verify", "plain.safetensors", "nets:net", "--device", "meta"), 0),
        (("verify", "plain.safetensors", "wrapped.pth"), 1),
        (("verify", "other.safetensors", "nets:net"), 1),
        (("schema",), 0),
        (("--version",), 0),
        (("--help",), 0),
        (("remap", "--help"), 0),
    ],
)
def test_a_command_ends_with_the_code_of_its_answer(words, code):
    result = invoke(*words)
    assert result.exit_code == code, result.output
    assert all(line.startswith(("error: ", "hint: ")) for line in result.stderr.splitlines())
    assert code or not result.stderr


def test_inspect_lists_in_file_order_and_picks_by_pattern():
    lines = words_of(invoke("inspect", "wrapped.pth", "--match", "module.0.*", "--match", "**.running_mean"))
    listed = [line.split()[1] for line in lines if "module." in line]
    assert listed == ["module.0.weight", "module.0.bias", "module.1.running_mean"]


def test_inspect_of_a_model_knows_parameters_from_buffers():
    lines = words_of(invoke("inspect", "nets:net"))
    assert "0 0 0.weight [4, 3, 3, 3] f32 432 B" in lines
    assert "4 - 1.running_mean [4] f32 16 B" in lines


def test_diff_counts_folds_and_guesses_the_rule():
    lines = words_of(invoke("diff", "wrapped.pth", "plain.safetensors"))
    assert lines[0] == "0 of 9 keys match (0.0 % of elements)"
    assert "align_names: {prefixes: [module.]}" in lines
    assert any(line.startswith("module.{0..2}.weight x3") for line in lines)


def test_the_guessed_rule_works_as_it_is_printed():
    lines = words_of(invoke("diff", "wrapped.pth", "plain.safetensors"))
    rule = next(line for line in lines if line.startswith("align_names"))
    assert invoke("diff", "wrapped.pth", "plain.safetensors", "-e", rule).exit_code == 0


def test_stat_is_two_lines():
    assert len(invoke("diff", "wrapped.pth", "nets:net", "--stat").stdout.splitlines()) == 2


def test_verbose_shows_each_key():
    short, long = (invoke("diff", "wrapped.pth", "nets:net", *more).stdout for more in ((), ("-v",)))
    assert "module.2.bias" not in short
    assert "module.2.bias" in long


def test_diff_with_missing_keys_allowed_is_no_difference():
    words = ("diff", "other.safetensors", "nets:net", "-e", "drop: '2.**'")
    assert invoke(*words).exit_code == 1
    assert invoke(*words, "--allow-missing", "2.*").exit_code == 0


@pytest.mark.parametrize(("out", "load"), [("a.safetensors", load_file), ("a.pth", lambda path: torch.load(path)["state_dict"])])
def test_remap_writes_what_the_suffix_says(out, load):
    result = invoke(*REMAP, "-o", out, *(["--bare"] if out.endswith("s") else []))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"wrote {out}: 9 keys, ")
    found, wanted = load(out), weights()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())


def test_to_overrides_the_suffix():
    assert invoke("remap", "plain.safetensors", "-o", "a.bin", "--to", "safetensors").exit_code == 0
    assert load_file("a.bin").keys() == weights().keys()


def test_a_larger_output_becomes_a_folder_of_shards(folder):
    assert invoke("remap", "plain.safetensors", "-o", "shards", "--max-shard-size", "500").exit_code == 0
    index = json.loads((folder / "shards" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == weights().keys()
    assert len(set(index["weight_map"].values())) > 1


def test_a_dry_run_writes_nothing(folder):
    before = sorted(folder.iterdir())
    result = invoke(*REMAP, "--dry-run", "-o", "a.pth")
    assert result.stdout.startswith("plan: 9 keys")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("fate", "line", "held"),
    [
        ("follow", "optimizer state followed: optimizer; of its parameters followed 5, reset 0, dropped 1, new 0", 5),
        ("reset", "optimizer state reset: optimizer; of its parameters followed 0, reset 5, dropped 1, new 0", 0),
        ("drop", "the optimizer state 'optimizer' is dropped: as asked", None),
    ],
)
def test_the_fate_of_the_optimizer_is_chosen(fate, line, held):
    parameters = [torch.nn.Parameter(value) for key, value in weights().items() if not key.startswith("1.running_") and value.dim()]
    optimizer = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.save({"state_dict": weights(), "optimizer": optimizer.state_dict()}, "trained.pth")
    words = ("remap", "trained.pth", "-e", "drop: 0.bias", "--optimizer", fate)
    planned, written = invoke(*words, "--dry-run"), invoke(*words, "-o", "a.pth")
    assert line in words_of(planned)
    assert line in words_of(written)
    found = torch.load("a.pth").get("optimizer")
    assert (None if found is None else len(found["state"])) == held


def test_an_existing_output_is_replaced_only_by_force(folder):
    (folder / "a.pth").write_text("mine")
    refused = invoke(*REMAP, "-o", "a.pth")
    assert (refused.exit_code, (folder / "a.pth").read_text()) == (5, "mine")
    assert invoke(*REMAP, "-o", "a.pth", "--force").exit_code == 0
    assert len(torch.load("a.pth")["state_dict"]) == 9


def test_nothing_is_written_where_keys_are_left_over(folder):
    result = invoke("remap", "wrapped.pth", "--target", "nets:net", "-o", "a.pth", "-e", "drop: module.0.weight")
    assert result.exit_code == 1
    assert not (folder / "a.pth").exists()


def test_remap_verifies_where_it_is_asked_to():
    result = invoke(*REMAP, "-o", "a.pth", "--verify", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "verified a.pth: 9 keys" in result.stdout
    assert "cpu" in result.stdout


def test_variables_decide_which_rules_run(folder):
    (folder / "if.yaml").write_text("version: 1\nrules:\n  - strip_prefix: module.\n    if: {style: parallel}\n")
    words = ("diff", "wrapped.pth", "plain.safetensors", "--rules", "if.yaml", "--set")
    assert invoke(*words, "style=parallel").exit_code == 0
    assert invoke(*words, "style=single").exit_code == 1


def test_rules_of_files_run_before_those_of_the_line(folder):
    (folder / "more.yaml").write_text("version: 1\nrules:\n  - rename: {module.0.weight: module.first.weight}\n")
    words = ("inspect", "a.safetensors")
    done = invoke(
        "remap",
        "wrapped.pth",
        "-e",
        "replace: {first: '0'}",
        "--rules",
        "more.yaml",
        "--rules",
        "rules.yaml",
        "-o",
        "a.safetensors",
        "--bare",
    )
    assert done.exit_code == 0, done.output
    assert "0.weight" in invoke(*words).stdout


def test_explain_tells_the_way_and_the_reason():
    lines = words_of(invoke("explain", "wrapped.pth", "0.weight", "--rules", "rules.yaml"))
    assert lines[0] == "target key 0.weight f32[4, 3, 3, 3]: renamed"
    assert "rules.yaml:3:5 strip_prefix module.0.weight 0.weight DataParallel" in lines
    assert lines[-1] == "module.0.weight"


def test_explain_works_on_rules_which_are_not_finished():
    words = ("wrapped.pth", "--rules", "rules.yaml", "-e", "drop: 2.bias", "--target", "nets:net")
    assert invoke("remap", *words, "--dry-run").exit_code == 1
    result = invoke("explain", words[0], "module.2.bias", *words[1:])
    assert result.exit_code == 0
    assert "drop" in result.stdout


def test_verify_allows_what_it_was_told_to_allow(folder):
    part = {key: tensor for key, tensor in weights().items() if not key.startswith("2.")}
    torch.save(part, "part.pth")
    words = ("verify", "part.pth", "nets:net", "--device", "cpu")
    assert invoke(*words).exit_code == 1
    allowed = invoke(*words, "--allow-missing", "2.**")
    assert allowed.exit_code == 0, allowed.output
    assert "new: 2 keys" in allowed.stdout


def test_schema_is_the_published_one():
    printed = invoke("schema").stdout
    jsonschema.Draft202012Validator.check_schema(json.loads(printed))
    assert printed == (SCHEMAS / "rules.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("inspect", "wrapped.pth"), "header"),
        (("inspect", "nets:net"), "header"),
        (("diff", "wrapped.pth", "nets:net"), "diff"),
        ((*REMAP, "--dry-run"), "plan"),
        ((*REMAP, "-o", "a.pth"), "outcome"),
        ((*REMAP, "-o", "a.pth", "--verify"), "outcome"),
        (("verify", "plain.safetensors", "nets:net"), "outcome"),
        (("explain", "wrapped.pth", "0.weight", "--rules", "rules.yaml"), "explanation"),
    ],
)
def test_json_is_one_document_which_keeps_to_its_schema(words, name):
    document = json.loads(invoke(*words, "--format", "json").stdout)
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))


def test_a_model_which_prints_does_not_spoil_the_result():
    result = invoke("diff", "plain.safetensors", "nets:chatty", "--format", "json")
    assert json.loads(result.stdout)["same"] is True
    assert "hello from the model" not in result.stdout


OVERFLOW = """version: 1
rules:
  - merge_lora: {source: {weight: base.weight, lora_a: a.weight, lora_b: b.weight}, target: weight, alpha: 9000}
"""


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
def test_a_value_which_its_type_does_not_hold_is_told_with_its_keys_and_leaves_the_old_file(folder, out):
    state = {"base.weight": torch.full((2, 2), 60000.0), "a.weight": torch.ones(1, 2), "b.weight": torch.ones(2, 1)}
    torch.save({key: tensor.half() for key, tensor in state.items()}, "half.pt")
    (folder / "overflow.yaml").write_text(OVERFLOW)
    (folder / out).write_bytes(b"old")
    before = sorted(folder.iterdir())
    result = invoke("remap", "half.pt", "--rules", "overflow.yaml", "-o", out, "--force")
    assert result.exit_code == 4, result.output
    first, hint = result.stderr.splitlines()
    assert first == "error: base.weight, a.weight, b.weight: merge_lora: 69000 in its result is too large for float16"
    assert hint.startswith("hint: `cast`")
    assert (folder / out).read_bytes() == b"old"
    assert sorted(folder.iterdir()) == before
