"""From a plan to a file and back: every byte, every tie, every refusal."""

import argparse
import os
import subprocess
import sys
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError, CoverageError, DiskError, ModelError
from ckpt_surgeon.sources import open_source


def state_dict() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "module.conv.weight": torch.randn(4, 3, 3, 3),
        "module.conv.bias": torch.randn(4).half(),
        "module.bn.num_batches_tracked": torch.tensor(7),
        "module.mask": torch.tensor([True, False]),
        "module.empty": torch.zeros(0, 5),
        "module.z": torch.randn(3, dtype=torch.complex64),
        "module.low": torch.randn(5).to(torch.float8_e4m3fn),
    }


def saved(tmp_path, form: str):
    path = tmp_path / f"source.{form}"
    if form == "safetensors":
        save_file(state_dict(), path)
    elif form == "legacy.pt":
        torch.save(state_dict(), path, _use_new_zipfile_serialization=False)
    else:
        torch.save(state_dict(), path)
    return path


def read(path) -> dict[str, torch.Tensor]:
    if os.path.isdir(path):
        files = [path / name for name in sorted(os.listdir(path)) if name.endswith(".safetensors")]
        return {key: tensor for file in files for key, tensor in read(file).items()}
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    return torch.load(path, weights_only=True, mmap=True)


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype
        assert found[key].shape == tensor.shape
        assert found[key].contiguous().reshape(-1).view(torch.uint8).tolist() == tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt", "out"])
@pytest.mark.parametrize("form", ["pt", "legacy.pt", "safetensors"])
def test_names_change_and_bytes_do_not_between_all_formats(tmp_path, form, out):
    source = saved(tmp_path, form)
    outcome = surgeon.write(surgeon.plan(str(source), [{"strip_prefix": "module."}]), tmp_path / out)
    assert_same(read(tmp_path / out), {key.removeprefix("module."): tensor for key, tensor in state_dict().items()})
    assert len(outcome.renamed) == 7


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_values_are_computed_where_a_rule_says_so(tmp_path, form, out):
    rules = [
        {"adapt_in_channels": {"match": "module.conv.weight", "mode": "mean", "in_channels": 10}},
        {"split": {"source": "module.conv.bias", "target": ["a", "b"], "sizes": [1, 3]}},
        {"cast": {"match": "module.mask", "dtype": "float32"}},
    ]
    surgeon.write(surgeon.plan(str(saved(tmp_path, form)), rules), tmp_path / out)
    before, after = state_dict(), read(tmp_path / out)
    mean = before["module.conv.weight"].mean(1, keepdim=True)
    torch.testing.assert_close(after["module.conv.weight"], mean.expand(4, 10, 3, 3))
    assert torch.equal(torch.cat([after["a"], after["b"]]), before["module.conv.bias"])
    assert after["module.mask"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
def test_two_runs_give_the_same_bytes_whatever_the_files_are_called(tmp_path, out):
    first = saved(tmp_path, "pt")
    second = tmp_path / "other name.bin"
    second.write_bytes(first.read_bytes())
    for source, folder in ((first, "a"), (second, "b")):
        (tmp_path / folder).mkdir()
        surgeon.write(surgeon.plan(str(source), [{"strip_prefix": "module."}]), tmp_path / folder / out)
    assert (tmp_path / "a" / out).read_bytes() == (tmp_path / "b" / out).read_bytes()


def test_the_source_and_an_existing_destination_are_not_touched(tmp_path):
    source = saved(tmp_path, "pt")
    before = source.read_bytes()
    plan = surgeon.plan(str(source), [{"strip_prefix": "module."}])
    with pytest.raises(DiskError):
        surgeon.write(plan, source, force=True)
    out = tmp_path / "out.pt"
    out.write_bytes(b"precious")
    with pytest.raises(DiskError):
        surgeon.write(plan, out)
    assert (source.read_bytes(), out.read_bytes()) == (before, b"precious")
    surgeon.write(plan, out, force=True)
    assert set(read(out)) == {key.removeprefix("module.") for key in state_dict()}


def test_a_source_which_changed_since_the_plan_is_refused(tmp_path):
    source = saved(tmp_path, "pt")
    plan = surgeon.plan(str(source))
    torch.save({"other": torch.zeros(1)}, source)
    with pytest.raises(DiskError, match="changed"):
        surgeon.write(plan, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_a_plan_made_from_a_header_has_no_weights_to_write(tmp_path):
    with pytest.raises(ModelError, match="header alone"):
        surgeon.write(surgeon.plan(surgeon.inspect(str(saved(tmp_path, "pt")))), tmp_path / "out.pt")


def test_a_state_dict_in_memory_is_written_like_a_file(tmp_path):
    surgeon.write(surgeon.plan(state_dict()), tmp_path / "out.safetensors")
    assert_same(read(tmp_path / "out.safetensors"), state_dict())


def tied() -> dict[str, torch.Tensor]:
    weight = torch.randn(4, 2)
    return {"embed": weight, "other": torch.randn(2), "head": weight}


@pytest.mark.parametrize("path", [("a.pt", "b.safetensors", "c.pt"), ("a.pt", "b.pt", "c.safetensors"), ("a.pt", "folder", "c.pt")])
def test_ties_survive_every_chain_of_formats(tmp_path, path):
    torch.save(tied(), tmp_path / path[0])
    for before, after in pairwise(path):
        surgeon.write(surgeon.plan(str(tmp_path / before), [{"add_prefix": "x."}]), tmp_path / after)
    header = surgeon.inspect(str(tmp_path / path[-1]))
    assert header.aliases == {"x.x.head": "x.x.embed"}
    assert list(header.entries) == ["x.x.embed", "x.x.other", "x.x.head"]


def training_checkpoint() -> dict:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 12,
        "arch": "linear",
        "args": argparse.Namespace(lr=0.1),
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


def test_a_pt_keeps_its_envelope_and_metadata(tmp_path):
    checkpoint = training_checkpoint()
    torch.save(checkpoint, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(str(tmp_path / "a.pt"), [{"add_prefix": "fc."}]), tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=False)
    assert (after["epoch"], after["arch"], after["args"]) == (12, "linear", argparse.Namespace(lr=0.1))
    assert isinstance(after["state_dict"], OrderedDict)
    assert_same(after["state_dict"], {f"fc.{key}": tensor for key, tensor in checkpoint["state_dict"].items()})
    assert after["state_dict"]._metadata == {"": {"version": 1}, "fc": {"version": 1}}
    momentum = after["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, checkpoint["optimizer"]["state"][0]["momentum_buffer"])


def test_stale_optimizer_state_is_dropped_and_said_by_name(tmp_path):
    torch.save(training_checkpoint(), tmp_path / "a.pt")
    plan = surgeon.plan(str(tmp_path / "a.pt"), [{"rename": {"weight": "bias", "bias": "weight"}}])
    assert any("'optimizer' is dropped" in note for note in plan.notes)
    surgeon.write(plan, tmp_path / "b.pt")
    after = torch.load(tmp_path / "b.pt", weights_only=False)
    assert "optimizer" not in after
    assert after["epoch"] == 12


def test_safetensors_refuses_to_lose_the_envelope_without_bare(tmp_path):
    torch.save(training_checkpoint(), tmp_path / "a.pt")
    plan = surgeon.plan(str(tmp_path / "a.pt"))
    with pytest.raises(CoverageError, match=r"argparse\.Namespace"):
        surgeon.write(plan, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()
    surgeon.write(plan, tmp_path / "b.safetensors", bare=True)
    assert set(read(tmp_path / "b.safetensors")) == {"weight", "bias"}


def test_what_bare_leaves_behind_is_said_by_name(tmp_path):
    torch.save(training_checkpoint(), tmp_path / "a.pt")
    outcome = surgeon.write(surgeon.plan(str(tmp_path / "a.pt")), tmp_path / "b.pt", bare=True)
    assert outcome.left_behind == ("epoch", "arch", "args", "optimizer")
    assert any("epoch, arch, args, optimizer" in note for note in outcome.notes)
    assert surgeon.write(surgeon.plan(str(tmp_path / "a.pt")), tmp_path / "c.pt").left_behind == ()


def test_the_outcome_of_a_write_carries_the_plans_notes(tmp_path):
    torch.save(training_checkpoint(), tmp_path / "a.pt")
    outcome = surgeon.write(surgeon.plan(str(tmp_path / "a.pt"), optimizer="drop"), tmp_path / "b.pt")
    assert any("'optimizer' is dropped" in note for note in outcome.notes)


def test_scalars_of_the_envelope_become_safetensors_metadata(tmp_path):
    torch.save({"epoch": 12, "arch": "linear", "state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pt")
    surgeon.write(surgeon.plan(str(tmp_path / "a.pt")), tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["epoch"], metadata["format"]) == ("12", "pt")
    assert "linear" in metadata["arch"]


def test_shards_are_cut_at_the_size_and_hold_every_tensor(tmp_path):
    source = saved(tmp_path, "pt")
    surgeon.write(surgeon.plan(str(source)), tmp_path / "out.safetensors", max_shard_size=10**9)
    assert (tmp_path / "out.safetensors").is_file()
    surgeon.write(surgeon.plan(str(source)), tmp_path / "sharded", max_shard_size=100)
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert_same(read(tmp_path / "sharded"), state_dict())
    assert surgeon.inspect(str(tmp_path / "sharded")).tensors == surgeon.inspect(str(source)).tensors


def test_init_takes_the_models_own_values_under_a_seed(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))\n"
    )
    torch.save({"0.weight": torch.ones(2, 3), "0.bias": torch.ones(2)}, tmp_path / "a.pt")
    code = (
        "import ckpt_surgeon as s; r = [{'init': {'match': '1.**', 'value': 'model', 'seed': 3}}];"
        "[s.write(s.plan('a.pt', r, 'net:build'), name) for name in ('b.pt', 'c.pt')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    first, second = read(tmp_path / "b.pt"), read(tmp_path / "c.pt")
    assert_same(first, second)
    assert first["1.weight"].std() > 0
    assert torch.equal(first["0.weight"], torch.ones(2, 3))


def test_init_from_the_model_needs_a_model(tmp_path):
    target = surgeon.inspect({"a": torch.zeros(2), "b": torch.zeros(2)})
    plan = surgeon.plan({"a": torch.zeros(2)}, [{"init": {"match": "b", "value": "model"}}], target)
    with pytest.raises(ModelError, match="needs a target which is a model"):
        surgeon.write(plan, tmp_path / "b.pt")


def test_progress_ends_at_the_whole(tmp_path):
    calls = []
    surgeon.write(surgeon.plan(state_dict()), tmp_path / "out.pt", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] == surgeon.inspect(state_dict()).nbytes


def test_a_rename_moves_bytes_without_torch(tmp_path):
    saved(tmp_path, "pt")
    code = (
        "import sys, ckpt_surgeon as s\n"
        "from ckpt_surgeon.planning import make_plan\n"
        "for out in ('a.safetensors', 'b.pt', 'c'):\n"
        "    s.write(s.plan('source.pt', [{'strip_prefix': 'module.'}]), out)\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_source_which_is_open_already_is_read_once(tmp_path):
    path, out = saved(tmp_path, "safetensors"), tmp_path / "out.pt"
    with open_source(path) as reader:
        path.unlink()  # opening it again would fail
        plan = surgeon.plan(path, [{"strip_prefix": "module."}], reader=reader)
        surgeon.write(plan, out, reader=reader)
    assert_same(read(out), {key.removeprefix("module."): tensor for key, tensor in state_dict().items()})


def test_an_open_reader_of_another_source_is_refused(tmp_path):
    path = saved(tmp_path, "safetensors")
    plan = surgeon.plan(path)
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with open_source(tmp_path / "other.safetensors") as reader, pytest.raises(DiskError, match="has changed"):
        surgeon.write(plan, tmp_path / "out.pt", reader=reader)
    assert not (tmp_path / "out.pt").exists()


def test_damaged_bytes_are_told_with_the_key_for_which_they_were_read(tmp_path):
    source, out = tmp_path / "in.pt", tmp_path / "out.safetensors"
    torch.save({"sound": torch.ones(3), "hurt": torch.arange(6.0) + 0.123}, source)
    data = bytearray(source.read_bytes())
    place = bytes(data).index((torch.arange(6.0) + 0.123).numpy().tobytes())
    data[place] ^= 1
    source.write_bytes(data)
    with pytest.raises(CorruptError, match=r"in\.pt: its bytes are damaged.*\(read for new\)"):
        surgeon.write(surgeon.plan(source, [{"rename": {"hurt": "new"}}]), out)
    assert not out.exists()
