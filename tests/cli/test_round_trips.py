"""Whole runs, one command after the other: conversions there and back, the same bytes twice, nothing changed for nothing."""

import hashlib
import json
import os
import zipfile

import pytest
import torch
from cli_runs import invoke, weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.usefixtures("folder")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def done(*words):
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result


def equal(found, wanted):
    assert found.keys() == wanted.keys()
    return all(torch.equal(found[key], tensor) for key, tensor in wanted.items())


def test_a_checkpoint_comes_back_from_every_format_as_it_was(folder):
    done("remap", "plain.safetensors", "-o", "a.pth")
    done("remap", "a.pth", "-o", "shards", "--max-shard-size", "300")
    done("remap", "shards", "-o", "b.ckpt")
    done("remap", "b.ckpt", "-o", "c.safetensors")
    assert equal(load_file("c.safetensors"), weights())
    for left, right in (("a.pth", "shards"), ("shards", "b.ckpt"), ("b.ckpt", "c.safetensors"), ("c.safetensors", "plain.safetensors")):
        assert invoke("diff", left, right).exit_code == 0


def test_other_tools_open_what_was_written():
    done("remap", "plain.safetensors", "-o", "a.pth")
    done("remap", "plain.safetensors", "-o", "b.safetensors")
    assert equal(torch.load("a.pth", weights_only=True, mmap=True), weights())
    with safe_open("b.safetensors", "pt") as file:
        assert set(file.keys()) == set(weights())
    assert zipfile.ZipFile("a.pth").testzip() is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_same_run_gives_the_same_bytes_whatever_the_files_are_called(suffix, folder):
    words = ("--rules", "rules.yaml", "--target", "nets:net", "--bare")
    done("remap", "wrapped.pth", *words, "-o", f"a{suffix}")
    os.rename("wrapped.pth", "another name.pth")
    done("remap", "another name.pth", *words, "-o", f"b{suffix}")
    assert digest(folder / f"a{suffix}") == digest(folder / f"b{suffix}")


def test_aligning_what_is_aligned_changes_nothing(folder):
    words = ("-e", "align_names: {prefixes: [module.]}", "--target", "plain.safetensors")
    done("remap", "wrapped.pth", *words, "-o", "a.pth")
    done("remap", "a.pth", *words, "-o", "b.pth")
    assert digest(folder / "a.pth") == digest(folder / "b.pth")


def test_the_source_is_never_touched(folder):
    before = {path.name: digest(path) for path in folder.iterdir() if path.is_file()}
    done("remap", "wrapped.pth", "--rules", "rules.yaml", "-o", "a.pth")
    for words in (("remap", "wrapped.pth", "-o", "a.pth"), ("diff", "wrapped.pth", "nets:net"), ("verify", "cut.safetensors", "nets:net")):
        assert invoke(*words).exit_code
    after = {path.name: digest(path) for path in folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"a.pth"}


def test_the_envelope_stays_unless_it_is_left_behind():
    done("remap", "wrapped.pth", "--rules", "rules.yaml", "-o", "a.pth")
    assert torch.load("a.pth", weights_only=True)["epoch"] == 3
    done("remap", "wrapped.pth", "--rules", "rules.yaml", "-o", "b.pth", "--bare")
    assert "epoch" not in torch.load("b.pth", weights_only=True)


def test_the_optimizer_is_kept_while_it_fits_follows_and_is_dropped_by_name_when_it_cannot():
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, "trained.pth")
    kept = done("remap", "trained.pth", "-e", "add_prefix: net.", "-o", "renamed.pth")
    assert "optimizer state kept: optimizer" in kept.stdout
    assert "optimizer" in torch.load("renamed.pth")
    followed = done("remap", "trained.pth", "-e", "transpose: {match: weight, dims: [0, 1]}", "-o", "turned.pth")
    assert "optimizer state followed: optimizer" in followed.stdout
    assert torch.equal(torch.load("turned.pth")["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"].T)
    lost = done("remap", "trained.pth", "-e", "rename: {weight: bias, bias: weight}", "-o", "swapped.pth")
    assert "the optimizer state 'optimizer' is dropped" in lost.stdout
    assert "optimizer" not in torch.load("swapped.pth")


def test_tied_names_are_told_and_stay_tied():
    shared = torch.ones(2, 3)
    torch.save({"embed.weight": shared, "head.weight": shared}, "tied.pth")
    assert "1 tied" in done("inspect", "tied.pth").stdout
    done("remap", "tied.pth", "-o", "a.pth")
    loaded = torch.load("a.pth")
    assert loaded["embed.weight"].data_ptr() == loaded["head.weight"].data_ptr()
    document = json.loads(done("inspect", "a.pth", "--format", "json").stdout)
    assert [entry.get("tied_with") for entry in document["entries"]] == [None, "embed.weight"]


def test_several_tables_are_listed_and_one_is_picked():
    torch.save({"state_dict": weights(), "ema": weights("ema.")}, "two.pth")
    told = invoke("inspect", "two.pth")
    assert told.exit_code == 4
    assert "state_dict (9 tensors" in told.stderr
    assert "ema (9 tensors" in told.stderr
    picked = json.loads(done("inspect", "two.pth#ema", "--format", "json").stdout)
    assert picked["envelope"]["path"] == "ema"
    assert picked["entries"][0]["key"].startswith("ema.")


def test_a_plan_names_the_sources_and_ops_of_every_target():
    words = ("remap", "wrapped.pth", "--rules", "rules.yaml", "-e", "cast: {match: 0.weight, dtype: float64}")
    document = json.loads(done(*words, "--dry-run", "--format", "json").stdout)
    assert document["targets"]["0.weight"]["sources"] == ["module.0.weight"]
    assert [op["op"] for op in document["targets"]["0.weight"]["ops"]] == ["cast"]
    assert document["targets"]["0.weight"]["class"] == "adapted"
    assert document["targets"]["0.bias"] == {"sources": ["module.0.bias"], "ops": [], "class": "renamed"}


def test_verify_compares_with_the_source_through_the_rules(folder):
    done("remap", "wrapped.pth", "--rules", "rules.yaml", "-o", "a.pth")
    words = ("nets:net", "--device", "cpu", "--rules", "rules.yaml", "--source", "wrapped.pth")
    done("verify", "a.pth", *words)
    changed = {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in weights().items()}
    save_file(changed, "changed.safetensors")
    result = invoke("verify", "changed.safetensors", *words)
    assert result.exit_code == 1
    assert "0.weight" in result.stderr


def test_an_existing_path_wins_over_a_factory(folder):
    save_file(weights(), folder / "nets:net")
    assert json.loads(done("inspect", "nets:net", "--format", "json").stdout)["format"] == "safetensors"
