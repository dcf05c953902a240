"""`diff(..., values=True)`: what is compared with what, in every format, with rules, ties and without values."""

import gc
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.comparison import Distance
from ckpt_surgeon.errors import CorruptError, DiskError, ModelError
from ckpt_surgeon.spec import Opaque


def table() -> dict[str, torch.Tensor]:
    """A matrix, a vector, an empty one, one without dims, half precision, integers, flags; larger than a piece in all."""
    torch.manual_seed(0)
    return {
        "m.weight": torch.randn(300, 250),
        "m.bias": torch.randn(250),
        "empty": torch.zeros(0, 3),
        "scale": torch.tensor(2.5),
        "half": torch.randn(7, 3).to(torch.bfloat16),
        "count": torch.arange(5),
        "flags": torch.tensor([True, False]),
    }


def other() -> dict[str, torch.Tensor]:
    """The same but for one element of the matrix and the number of counts."""
    found = table()
    found["m.weight"][299, 249] += 1
    found["count"][4] = 40
    return found


def repacked(source: Path, target: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A torch file whose records are compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return target


def big_endian(source: Path, target: Path) -> Path:
    """A torch file as a big-endian machine writes it; of f32 only."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if "/data/" in name:
                data = b"".join(data[start : start + 4][::-1] for start in range(0, len(data), 4))
            new.writestr(name, b"big" if name.endswith("byteorder") else data)
    return target


def in_safetensors(folder, state):
    save_file(state, folder / "a.safetensors")
    return folder / "a.safetensors"


def in_torch(folder, state):
    torch.save({"state_dict": state, "epoch": 3}, folder / "a.pt")
    return folder / "a.pt"


def in_legacy(folder, state):
    torch.save(state, folder / "a.pth", _use_new_zipfile_serialization=False)
    return folder / "a.pth"


def compressed(folder, state):
    return repacked(in_torch(folder, state), folder / "compressed.pt")


def in_shards(folder, state):
    surgeon.write(surgeon.plan(state), folder / "shards", max_shard_size=1000)
    return folder / "shards"


def distributed(folder, state):
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(dict(state), checkpoint_id=folder / "distributed")
    return folder / "distributed"


def turned(folder, state):
    """Matrices which lie in the file by columns."""
    torch.save({key: value.t().contiguous().t() if value.dim() == 2 else value for key, value in state.items()}, folder / "turned.pt")
    return folder / "turned.pt"


def a_state_dict(_folder, state):
    return state


FORMS = {form.__name__: form for form in (in_safetensors, in_torch, in_legacy, compressed, in_shards, distributed, turned, a_state_dict)}


@pytest.fixture
def folders(tmp_path):
    """Three empty folders."""
    for name in "abc":
        (tmp_path / name).mkdir()
    return [tmp_path / name for name in "abc"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_format_holds_the_same_values(folders, form):
    found = surgeon.diff(form(folders[0], table()), table(), values=True)
    assert found.is_equal
    assert found.values.equal == tuple(table())
    assert found.values.nbytes == sum(value.nbytes for value in table().values())
    for source, target in ((form(folders[1], other()), table()), (other(), form(folders[2], table()))):
        found = surgeon.diff(source, target, values=True)
        assert (found.same, found.is_equal) == (True, False)
        assert set(found.values.different) == {"m.weight", "count"}
        assert (found.values.different["count"].differing, found.values.different["count"].max_abs) == (1, 36.0)
        assert found.values.different["m.weight"].differing == 1
        assert found.values.different["m.weight"].max_abs == pytest.approx(1, abs=1e-6)


def test_single_file_and_shards_are_compared_byte_by_byte(tmp_path):
    single, shards = in_safetensors(tmp_path, table()), in_shards(tmp_path, table())
    assert surgeon.diff(single, shards, values=True).is_equal
    assert surgeon.diff(shards, single, values=True).is_equal


def test_a_big_endian_file_is_compared_by_value(tmp_path):
    state = {key: value for key, value in table().items() if value.dtype is torch.float32}
    file = big_endian(in_torch(tmp_path, state), tmp_path / "big.pt")
    assert surgeon.diff(file, state, values=True).is_equal
    assert set(surgeon.diff(file, {**state, "m.weight": other()["m.weight"]}, values=True).values.different) == {"m.weight"}


def test_a_live_module_is_compared_on_either_side(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    torch.save(model.state_dict(), tmp_path / "a.pt")
    assert surgeon.diff(tmp_path / "a.pt", model, values=True).is_equal
    assert surgeon.diff(model, tmp_path / "a.pt", values=True).is_equal
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    assert list(surgeon.diff(tmp_path / "a.pt", model, values=True).values.different) == ["0.weight"]


def test_without_values_none_are_compared():
    found = surgeon.diff(table(), other())
    assert found.values is None
    assert found.is_equal


def test_rules_come_first():
    torch.manual_seed(0)
    qkv = torch.randn(6, 4)
    source = {"module.qkv": qkv, "module.w": torch.randn(2, 3)}
    target = {"q": qkv[:2], "k": qkv[2:4], "v": qkv[4:], "w": source["module.w"].t()}
    rules = [
        {"strip_prefix": "module."},
        {"split": {"source": "qkv", "target": ["q", "k", "v"]}},
        {"transpose": {"match": "w"}},
    ]
    found = surgeon.diff(source, target, rules, values=True)
    assert found.is_equal
    assert found.values.equal == ("q", "k", "v", "w")
    found = surgeon.diff(source, {**target, "k": target["v"]}, rules, values=True)
    assert list(found.values.different) == ["k"]


def test_moved_bytes_are_compared_after_rules_on_files(tmp_path):
    torch.manual_seed(0)
    parts = {f"p{i}": torch.randn(70, 999) for i in range(3)}
    source, target = in_safetensors(tmp_path, parts), tmp_path / "b.safetensors"
    save_file({"w": torch.cat([parts["p2"], parts["p0"], parts["p1"]])}, target)
    rules = [{"concat": {"source": ["p2", "p0", "p1"], "target": "w"}}]
    assert surgeon.diff(source, target, rules, values=True).is_equal
    wrong = [{"concat": {"source": ["p0", "p2", "p1"], "target": "w"}}]
    assert surgeon.diff(source, target, wrong, values=True).values.different["w"].differing >= 2 * 70 * 999 - 5


def test_what_rules_compute_of_a_file_is_compared_to_the_last_element(tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(700, 999).to(torch.bfloat16)
    source, wanted = in_safetensors(tmp_path, {"w": weight}), weight.float()
    rules = [{"cast": {"match": "w", "dtype": "float32"}}]
    assert surgeon.diff(source, {"w": wanted}, rules, values=True).is_equal
    wanted[-1, -1] += 1
    assert surgeon.diff(source, {"w": wanted}, rules, values=True).values.different["w"].differing == 1


def test_a_variable_reaches_the_rules_before_values_are_compared():
    rules = [{"rename": {"a": "b"}, "if": "turn"}]
    assert surgeon.diff({"a": torch.ones(2)}, {"b": torch.ones(2)}, rules, {"turn": True}, values=True).is_equal
    assert not surgeon.diff({"a": torch.ones(2)}, {"b": torch.ones(2)}, rules, {"turn": False}, values=True).is_equal


def test_tensors_tied_on_both_sides_are_compared_once():
    shared = torch.ones(3)
    tied = {"a": shared, "b": shared}
    found = surgeon.diff(tied, {"a": (one := torch.ones(3)), "b": one}, values=True).values
    assert (found.equal, found.nbytes) == (("a",), 12)
    assert surgeon.diff(tied, {"a": torch.ones(3), "b": torch.ones(3)}, values=True).values.equal == ("a", "b")


def test_a_tie_of_the_target_is_held_against_each_of_two_tensors_of_the_source():
    shared = torch.ones(3)
    found = surgeon.diff({"a": torch.ones(3), "b": torch.zeros(3)}, {"a": shared, "b": shared}, values=True).values
    assert (found.equal, list(found.different)) == (("a",), ["b"])


def test_a_tied_name_which_the_source_lacks_is_no_second_comparison():
    shared = torch.ones(3)
    found = surgeon.diff({"b": torch.ones(3)}, {"a": shared, "b": shared}, values=True)
    assert found.matched == ("a", "b")
    assert found.values.equal == ("b",)


def test_shapes_which_differ_are_reported_as_before_and_not_compared():
    found = surgeon.diff({"a": torch.ones(3), "b": torch.ones(1)}, {"a": torch.ones(4), "b": torch.tensor(1.0)}, values=True)
    assert list(found.mismatched) == ["a"]
    assert found.values.equal == ("b",)
    assert not found.is_equal


def test_another_dtype_with_the_same_values_is_a_difference_of_the_dtype_alone():
    found = surgeon.diff({"a": torch.tensor([1.0, -0.0])}, {"a": torch.tensor([1.0, 0.0], dtype=torch.float16)}, values=True)
    assert found.values.equal == ("a",)
    assert list(found.casts) == ["a"]
    assert not found.is_equal


def test_an_opaque_entry_is_said_to_be_left_out(tmp_path):
    state = {"w": torch.ones(2), "s": torch.eye(2).to_sparse()}
    torch.save(state, tmp_path / "a.pt")
    assert isinstance(surgeon.inspect(tmp_path / "a.pt").entries["s"], Opaque)
    found = surgeon.diff(tmp_path / "a.pt", tmp_path / "a.pt", values=True)
    assert found.values.skipped == {"s": "it is no plain tensor"}
    assert found.values.equal == ("w",)


def test_what_rules_make_anew_is_left_out():
    rules = [{"init": {"match": "b", "value": "zeros"}}]
    found = surgeon.diff({"a": torch.ones(2)}, {"a": torch.ones(2), "b": torch.ones(2)}, rules, values=True)
    assert found.values.skipped == {"b": "it reads no weight of the source"}
    assert found.is_equal


def test_the_furthest_apart_come_first():
    zeros = {key: torch.ones(4) for key in ("near", "equal", "far", "nan", "infinite")}
    source = {key: value.clone() for key, value in zeros.items()}
    source["near"][0], source["far"][0], source["nan"][0], source["infinite"][0] = 1.5, 9.0, float("nan"), float("inf")
    found = surgeon.diff(source, zeros, values=True).values
    assert list(found.different) == ["nan", "infinite", "far", "near"]
    assert found.different["nan"] == Distance(4, 1, (1, 0), 0.0, 0.0, 1.0)


def test_progress_counts_the_bytes_which_were_compared():
    told = []
    state = {"a": torch.ones(2), "b": torch.ones(3), "m": torch.ones(4)}
    surgeon.diff(state, {**state, "m": torch.ones(5)}, values=True, progress=lambda *step: told.append(step))
    assert told == [(8, 20), (20, 20)]


MODEL = "import torch\ndef net():\n    return torch.nn.Linear(2, 2)\n"


def test_a_model_to_be_has_no_values(tmp_path, monkeypatch):
    (tmp_path / "nets_for_values.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    state = nn.Linear(2, 2).state_dict()
    with pytest.raises(ModelError, match="the target has no values: it is a model on the meta device"):
        surgeon.diff(state, "nets_for_values:net", values=True)
    with pytest.raises(ModelError, match="the source has no values"):
        surgeon.diff("nets_for_values:net", state, values=True)
    with pytest.raises(ModelError, match="the target has no values"):
        surgeon.diff(state, surgeon.inspect("nets_for_values:net"), values=True)
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="weight: it is on the meta device and has no values"):
        surgeon.diff(state, model, values=True)


def test_a_damaged_record_is_refused(tmp_path):
    good = in_torch(tmp_path, table())
    data = bytearray(good.read_bytes())
    place = data.find(table()["m.weight"].numpy().tobytes()[:64])
    data[place] ^= 1
    (tmp_path / "bad.pt").write_bytes(data)
    with pytest.raises(CorruptError, match="checksum"):
        surgeon.diff(good, tmp_path / "bad.pt", values=True)


def test_a_damaged_record_is_refused_though_its_bytes_are_those_of_a_file_without_checksums(tmp_path):
    file = in_torch(tmp_path, table())
    data = bytearray(file.read_bytes())
    data[data.find(table()["m.weight"].numpy().tobytes()[:64])] ^= 1
    file.write_bytes(data)
    damaged = table()["m.weight"]
    damaged.view(torch.uint8)[0, 0] ^= 1
    save_file({**table(), "m.weight": damaged}, tmp_path / "b.safetensors")
    with pytest.raises(CorruptError, match="checksum"):
        surgeon.diff(file, tmp_path / "b.safetensors", values=True)


def test_equal_bytes_of_different_checksums_are_not_equal_silently(tmp_path):
    good = in_torch(tmp_path, table())
    data = bytearray(good.read_bytes())
    crc = zlib.crc32(table()["m.weight"].numpy().tobytes()).to_bytes(4, "little")
    assert data.count(crc) >= 2
    (tmp_path / "bad.pt").write_bytes(data.replace(crc, bytes([crc[0] ^ 1, *crc[1:]])))
    with pytest.raises(CorruptError, match="checksum"):
        surgeon.diff(good, tmp_path / "bad.pt", values=True)


def test_files_are_closed_after_an_error(tmp_path):
    good = in_safetensors(tmp_path, table())
    with pytest.raises(DiskError):
        surgeon.diff(tmp_path / "nothing.pt", good, values=True)
    gc.collect()  # a file which stayed open is a ResourceWarning, and that an error


def sparse(path: Path, numel: int) -> Path:
    """A safetensors file of one tensor of f32 zeros which takes no room on the disk."""
    text = json.dumps({"w": {"dtype": "F32", "shape": [numel], "data_offsets": [0, 4 * numel]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + 4 * numel)
    return path


PEAK = """
import resource, sys
import ckpt_surgeon as surgeon
if sys.argv[3] == "torch":
    import torch
    surgeon.diff({"w": torch.zeros(300000)}, {"w": torch.ones(300000)}, values=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = surgeon.diff(sys.argv[1], sys.argv[2], values=True).values
print(len(found.equal), "torch" in sys.modules, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
MIB = 1024**2


def growth(first: Path, second: Path, *words: str) -> tuple[int, bool, int]:
    """How many tensors are equal, whether torch was imported, and by how many bytes the highest memory of a process grew."""
    # A child's highest memory starts with its parent's: a small process stands between.
    between = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    done = subprocess.run(
        [sys.executable, "-c", between, PEAK, str(first), str(second), *words], check=True, stdout=subprocess.PIPE, text=True
    )
    equal, has_torch, kib = done.stdout.split()
    return int(equal), has_torch == "True", int(kib) * 1024


def test_equal_tensors_of_hundreds_of_megabytes_take_little_memory_and_no_torch(tmp_path):
    files = sparse(tmp_path / "a.safetensors", 50_000_000), sparse(tmp_path / "b.safetensors", 50_000_000)
    equal, has_torch, nbytes = growth(*files, "plain")
    assert (equal, has_torch) == (1, False)
    assert nbytes < 24 * MIB  # the reader's own imports, too


def test_different_tensors_of_hundreds_of_megabytes_take_little_memory(tmp_path):
    files = sparse(tmp_path / "a.safetensors", 50_000_000), sparse(tmp_path / "b.safetensors", 50_000_000)
    with files[1].open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x40")
    equal, _, nbytes = growth(*files, "torch")
    assert equal == 0
    assert nbytes < 24 * MIB
