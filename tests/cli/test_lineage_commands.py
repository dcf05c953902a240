"""What a written file tells of itself: `--lineage`, `explain` without rules, `verify --manifest`, and what they refuse."""

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from cli_runs import invoke
from safetensors.torch import load_file, save_file

import ckpt_surgeon as surgeon

pytestmark = pytest.mark.usefixtures("folder")

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
LINEAGE, PLAN, HISTORY = "ckpt_surgeon.lineage", "ckpt_surgeon.plan", "ckpt_surgeon.history"
RULES = """version: 1
rules:
  - strip_prefix: module.
  - adapt_in_channels: {match: 0.weight, mode: mean, in_channels: 5}
"""
SURGERY = ("remap", "wrapped.pth", "--rules", "channels.yaml", "--bare")


@pytest.fixture(autouse=True)
def rules_file(folder):
    (folder / "channels.yaml").write_text(RULES)


def done(*words):
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def metadata(path):
    return surgeon.inspect(path).metadata


def validated(text, name):
    document = json.loads(text)
    jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))
    return document


def test_explain_answers_from_the_file_itself():
    done(*SURGERY, "-o", "out.safetensors")
    lines = [" ".join(line.split()) for line in done("explain", "out.safetensors", "0.weight").splitlines()]
    assert lines[0] == "target key 0.weight f32[4, 5, 3, 3]: adapted"
    assert lines[1].startswith("computed by adapt_in_channels(mode=mean, in_channels=5")
    assert "rule 1 (3:5) strip_prefix" in lines
    assert "rule 2 (4:5) adapt_in_channels" in lines
    assert lines[-1] == "module.0.weight"


def test_explain_leads_forwards_too():
    done(*SURGERY, "-o", "out.safetensors")
    lines = done("explain", "out.safetensors", "module.2.bias").splitlines()
    assert lines[0] == "source key module.2.bias"
    assert lines[-1].strip() == "2.bias"


def test_explain_knows_what_was_missing():
    save_file({"m.0.weight": torch.ones(4, 3, 3, 3)}, "part.safetensors")
    done(
        "remap",
        "part.safetensors",
        "-e",
        "strip_prefix: m.",
        "--target",
        "plain.safetensors",
        "-o",
        "out.safetensors",
        "--allow-missing",
        "**",
    )
    assert "target key 2.bias: missing" in done("explain", "out.safetensors", "2.bias")


@pytest.mark.parametrize("key", ["0.weight", "module.2.bias", "2.bias"])
def test_what_explain_says_keeps_to_its_schema(key):
    done(*SURGERY, "-o", "out.safetensors")
    document = validated(done("explain", "out.safetensors", key, "--format", "json"), "explanation")
    assert document["passages"][0]["op"] == "strip_prefix"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("explain", "plain.safetensors", "0.weight"), 4, "plain.safetensors: it carries no manifest"),
        (("explain", "out.safetensors", "0.wieght"), 4, "did you mean 0.weight?"),
        (("explain", "out.safetensors", "0.weight", "--manifest", "none.json"), 5, "none.json"),
        (("explain", "wrapped.pth", "0.weight", "--rules", "rules.yaml", "--manifest", "x.json"), 2, "--manifest excludes rules"),
        (("verify", "plain.safetensors", "--manifest"), 4, "it carries no manifest"),
        (("verify", "out.safetensors"), 2, "Give a TARGET, or --manifest"),
        (("verify", "out.safetensors", "nets:net", "--manifest"), 2, "takes the place of TARGET"),
        (("verify", "--manifest", "out.safetensors"), 2, "Missing argument"),
        (("remap", "wrapped.pth", "--dry-run", "--lineage"), 2, "it needs -o OUT"),
        (("remap", "plain.safetensors", "-e", "add_prefix: m.", "--in-place", "--lineage"), 2, "it needs -o OUT"),
        ((*SURGERY, "-o", "a.safetensors", "--lineage", "a.txt"), 2, "ends in .json"),
        ((*SURGERY, "-o", "a.safetensors", "--lineage", "model.safetensors.index.json"), 2, "not as an index"),
        ((*SURGERY, "-o", "shards", "--lineage", "shards/l.json"), 2, "or lie in it"),
        ((*SURGERY, "-o", "a.pt", "--lineage", "--report", "a.pt.lineage.json"), 2, "is a name of a manifest"),
        ((*SURGERY, "-o", "a.pt", "--lineage", "a.json", "--report", "a.json"), 2, "both to be written to"),
        ((*SURGERY, "-o", "a.pt", "--lineage", "old.json"), 5, "it exists already"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(folder, words, code, says):
    done(*SURGERY, "-o", "out.safetensors")
    (folder / "old.json").write_text("old")
    before = sorted(folder.rglob("*"))
    result = invoke(*words)
    assert result.exit_code == code, result.stderr
    assert says in result.stderr
    assert "hint: " in result.stderr or code == 5
    assert sorted(folder.rglob("*")) == before
    assert (folder / "old.json").read_text() == "old"


def test_verify_holds_a_file_against_its_manifest_and_makes_it_anew():
    done(*SURGERY, "-o", "out.safetensors")
    assert "its 9 keys are those of its manifest" in done("verify", "out.safetensors", "--manifest")
    text = done("verify", "out.safetensors", "--manifest", "--source", "wrapped.pth")
    assert "9 tensors were made from the source anew, and are the same" in text
    document = validated(done("verify", "out.safetensors", "--source", "wrapped.pth", "--manifest", "--format", "json"), "proof")
    assert (document["keys"], document["made_anew"], document["plan"]) == (9, 9, metadata("out.safetensors")[PLAN])


def test_verify_finds_one_wrong_bit_by_the_source_and_by_digests(folder):
    done(*SURGERY, "-o", "out.safetensors", "--digest", "--lineage")
    data = bytearray((folder / "out.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "out.safetensors").write_bytes(data)
    assert "keys are those" in done("verify", "out.safetensors", "--manifest")
    for words, says in [
        (("--manifest", "--source", "wrapped.pth"), "are not what their manifest makes of the source"),
        (("--manifest", "out.safetensors.lineage.json"), "have other digests than the manifest says"),
    ]:
        result = invoke("verify", "out.safetensors", *words)
        assert result.exit_code == 1
        assert says in result.stderr


@pytest.mark.parametrize("change", ["a key is gone", "a key came", "a shape changed"])
def test_verify_finds_what_others_did_to_the_file(change):
    done(*SURGERY, "-o", "out.safetensors")
    table = load_file("out.safetensors")
    if change == "a key is gone":
        del table["1.bias"]
    elif change == "a key came":
        table["3.bias"] = torch.ones(1)
    else:
        table["1.bias"] = torch.ones(5)
    save_file(table, "out.safetensors", dict(metadata("out.safetensors")))
    result = invoke("verify", "out.safetensors", "--manifest")
    assert result.exit_code == 1
    assert "the checkpoint is not what its manifest says" in result.stderr


def test_a_pt_has_its_manifest_beside_it():
    done(*SURGERY, "-o", "out.pt", "--digest", "--lineage")
    document = validated(Path("out.pt.lineage.json").read_text(encoding="utf-8"), "lineage")
    assert document["tensors"]["0.weight"] == "float32[4, 5, 3, 3]"
    assert document["digests"]["tensors"] == dict(surgeon.digest("out.pt").tensors)
    text = done("verify", "out.pt", "--manifest", "out.pt.lineage.json", "--source", "wrapped.pth")
    assert "9 tensors have the digests of the manifest" in text
    assert "rule 1 (3:5)" in done("explain", "out.pt", "2.bias", "--manifest", "out.pt.lineage.json")


def test_shards_carry_it_in_their_index_and_beside_the_folder():
    done(*SURGERY, "-o", "shards", "--max-shard-size", "300B", "--lineage")
    assert validated(Path("shards.lineage.json").read_text(encoding="utf-8"), "lineage")["plan"] == metadata("shards")[PLAN]
    assert "9 tensors" in done("verify", "shards", "--manifest", "--source", "wrapped.pth")


def test_what_is_in_a_header_keeps_to_the_schema():
    done(*SURGERY, "-o", "out.safetensors")
    document = validated(metadata("out.safetensors")[LINEAGE], "lineage")
    assert document["plan"] == metadata("out.safetensors")[PLAN]
    assert document["prefixes"] == {"": [1, "module."]}
    assert list(document["keys"]) == ["0.weight"]


def test_a_file_which_is_only_converted_carries_none_and_keeps_its_own():
    done("remap", "plain.safetensors", "-o", "same.safetensors")
    assert not {LINEAGE, PLAN, HISTORY} & set(metadata("same.safetensors"))
    done(*SURGERY, "-o", "out.safetensors")
    done("remap", "out.safetensors", "-o", "again.safetensors")
    assert metadata("again.safetensors") == metadata("out.safetensors")
    assert "9 tensors" in done("verify", "again.safetensors", "--manifest", "--source", "wrapped.pth")


def test_a_surgery_on_a_surgery_tells_of_itself_and_keeps_the_older_plans():
    done(*SURGERY, "-o", "1.safetensors")
    done("remap", "1.safetensors", "-e", "add_prefix: a.", "-o", "2.safetensors")
    done("remap", "2.safetensors", "-e", "drop: a.2.bias", "-o", "3.safetensors")
    plans = [metadata(f"{i}.safetensors")[PLAN] for i in (1, 2, 3)]
    assert HISTORY not in metadata("1.safetensors")
    assert json.loads(metadata("3.safetensors")[HISTORY]) == plans[:2]
    assert surgeon.lineage("3.safetensors").origin("a.0.weight").classification == "exact"
    assert "8 tensors" in done("verify", "3.safetensors", "--manifest", "--source", "2.safetensors")


def test_an_edit_in_place_carries_no_manifest_of_what_it_was_before(folder):
    done(*SURGERY, "-o", "out.safetensors")
    plan = metadata("out.safetensors")[PLAN]
    done("remap", "out.safetensors", "-e", "rename: {2.bias: 2.b}", "--in-place")
    assert not {LINEAGE, PLAN} & set(metadata("out.safetensors"))
    assert json.loads(metadata("out.safetensors")[HISTORY]) == [plan]


def test_the_same_bytes_whatever_the_files_are_called(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "other.yaml").write_text(RULES)
    (folder / "elsewhere" / "other.pth").write_bytes((folder / "wrapped.pth").read_bytes())
    done(*SURGERY, "-o", "a.safetensors", "--lineage")
    words = ("remap", "elsewhere/other.pth", "--rules", "elsewhere/other.yaml", "--bare")
    done(*words, "-o", "elsewhere/b.safetensors", "--lineage")
    assert (folder / "a.safetensors").read_bytes() == (folder / "elsewhere" / "b.safetensors").read_bytes()
    one, two = (folder / "a.safetensors.lineage.json", folder / "elsewhere" / "b.safetensors.lineage.json")
    assert one.read_bytes() == two.read_bytes()


def test_inspect_says_in_one_line_that_a_manifest_is_there():
    done(*SURGERY, "-o", "out.safetensors")
    lines = done("inspect", "out.safetensors").splitlines()
    assert [line for line in lines if "lineage" in line] == [
        "lineage: a manifest tells where each key comes from (`explain`, `verify --manifest`)"
    ]
    assert "lineage" not in done("inspect", "plain.safetensors")


def test_a_manifest_which_is_too_large_for_the_header_is_left_out_and_that_is_said():
    names = {f"{'x' * 30}.{i * 7919 % 3000}": torch.zeros(1) for i in range(3000)}
    save_file(names, "many.safetensors")
    rule = 'sub: {"^x+\\\\.([0-9])([0-9]*)$": "\\\\2.y\\\\1"}'
    text = done("remap", "many.safetensors", "-e", rule, "-o", "out.safetensors", "--lineage", "l.json")
    assert "its lineage stands in l.json" in text
    assert LINEAGE not in metadata("out.safetensors")
    assert "3000 tensors" in done("verify", "out.safetensors", "--manifest", "l.json", "--source", "many.safetensors")
    text = done("remap", "many.safetensors", "-e", rule, "-o", "out.safetensors", "--force")
    assert "its manifest is too large for the header, and was left out" in text


def test_what_a_model_draws_is_left_out_of_what_is_made_anew():
    words = ("-e", "drop: 2.*", "-e", "init: {match: 2.*, value: model}", "--target", "nets:net")
    done("remap", "plain.safetensors", *words, "-o", "out.safetensors")
    text = done("verify", "out.safetensors", "--manifest", "--source", "plain.safetensors")
    assert "7 tensors were made from the source anew" in text
    assert "not made anew, since they are a model's own: 2.weight, 2.bias" in text


SEVERAL = (
    "remap",
    "plain.safetensors",
    "-e",
    'drop: "2.**"',
    "-e",
    'copy: {"five::2.{leaf}": "2.{leaf}"}',
    "--source",
    "five=other.safetensors",
)


def test_keys_of_another_source_bear_its_alias_and_are_made_anew_from_it(folder):
    done(*SEVERAL, "-o", "out.safetensors")
    assert "five::2.bias" in done("explain", "out.safetensors", "2.bias")
    assert str(folder) not in metadata("out.safetensors")[LINEAGE]
    words = ("verify", "out.safetensors", "--source", "plain.safetensors")
    assert "made from the source anew, and are the same" in done(*words, "--source", "five=other.safetensors", "--manifest")
    alone = invoke(*words, "--manifest")
    assert alone.exit_code == 1
    assert "--source five=PATH" in alone.stderr
    assert invoke("verify", "out.safetensors", "--source", "five=other.safetensors", "--manifest").exit_code == 2


def test_a_tensor_of_another_source_under_its_own_name_is_a_surgery():
    words = [word.replace("five::", "twin::") for word in SEVERAL[:-1]]
    done(*words, "twin=plain.safetensors", "-o", "out.safetensors")
    assert surgeon.lineage("out.safetensors").origin("2.bias").sources == ("twin::2.bias",)
    assert surgeon.lineage("out.safetensors").origin("2.bias").classification == "exact"


def test_a_manifest_takes_the_place_of_no_source(folder):
    (folder / "other.safetensors").rename(folder / "five.json")
    before = (folder / "five.json").read_bytes()
    words = [word.replace("other.safetensors", "five.json") for word in SEVERAL]
    result = invoke(*words, "-o", "out.safetensors", "--lineage", "five.json", "--force")
    assert result.exit_code != 0
    assert (folder / "five.json").read_bytes() == before
