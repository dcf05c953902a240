"""Digests of tensors and of the whole: what they depend on, and what not."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon import disk
from ckpt_surgeon.digests import ALGORITHMS
from ckpt_surgeon.errors import CorruptError, ModelError, SurgeryError

NEEDS_BLAKE3 = pytest.mark.skipif(importlib.util.find_spec("blake3") is None, reason="blake3 is not installed")
HOURGLASS = torch.arange(12, dtype=torch.float32).reshape(3, 4)


def table() -> dict[str, Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(4, 2)
    return {
        "embed": weight,
        "large": torch.randn(300, 300),
        "half": torch.randn(5).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "turned": HOURGLASS.t(),
        "head": weight,
    }


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def plain(tensors: dict[str, Tensor], ties: dict[str, str]) -> tuple[dict[str, str], str]:
    """The definition, in other words: hashlib's digest of each tensor's bytes; that of the sorted lines. ties: later -> first name."""
    digests = {key: hashlib.sha256(bytes_of(tensor)).hexdigest() for key, tensor in tensors.items()}
    lines = ""
    for key in sorted(tensors):
        dtype = str(tensors[key].dtype).removeprefix("torch.")
        row = [key, dtype, list(tensors[key].shape), digests[key]] + ([ties[key]] if key in ties else [])
        lines += json.dumps(row, separators=(",", ":")) + "\n"
    return digests, hashlib.sha256(lines.encode()).hexdigest()


def saved(folder: Path, tensors: dict[str, Tensor], name: str = "source.pt") -> Path:
    torch.save(tensors, folder / name)
    return folder / name


def write(source: object, out: Path, rules: object = None, **options: object) -> surgeon.Digests:
    outcome = surgeon.write(surgeon.plan(source, rules), out, **{"digest": "sha256", **options})
    assert outcome.digests is not None
    return outcome.digests


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt", "out"])
def test_what_is_written_is_what_hashlib_says_of_the_tensors(tmp_path, out):
    tensors, whole = plain(table(), {"head": "embed"})
    digests = write(saved(tmp_path, table()), tmp_path / out)
    assert (digests.algorithm, digests.tensors, digests.whole) == ("sha256", tensors, whole)
    assert list(digests.tensors) == list(table())
    assert surgeon.digest(tmp_path / out) == digests


def test_a_zip_a_stream_shards_and_a_state_dict_have_one_digest(tmp_path):
    wanted = surgeon.digest(table())
    assert wanted.whole == plain(table(), {"head": "embed"})[1]
    torch.save(table(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": table()}, tmp_path / "wrapped.pth")
    surgeon.write(surgeon.plan(table()), tmp_path / "one.safetensors")
    surgeon.write(surgeon.plan(table()), tmp_path / "many", max_shard_size=100)
    names = ("legacy.pt", "wrapped.pth", "one.safetensors", "many", "many/model.safetensors.index.json")
    assert [surgeon.digest(tmp_path / name) for name in names] == [wanted] * len(names)


def test_compressed_records_have_the_digest_of_what_they_unpack_to(tmp_path):
    source = saved(tmp_path, table())
    with zipfile.ZipFile(source) as stored, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    assert surgeon.digest(tmp_path / "packed.pt") == surgeon.digest(source)


def test_the_order_of_keys_does_not_tell_nor_which_of_tied_names_comes_first():
    backwards = dict(reversed(table().items()))
    assert surgeon.digest(backwards).whole == surgeon.digest(table()).whole


def changed(**entries: Tensor) -> dict[str, Tensor]:
    return {**table(), **entries}


@pytest.mark.parametrize(
    "other",
    [
        {**{key: tensor for key, tensor in table().items() if key != "half"}, "halb": table()["half"]},
        {key: tensor for key, tensor in table().items() if key != "empty"},
        changed(large=table()["large"].view(90000)),
        changed(half=table()["half"].view(torch.float16)),
        changed(half=(table()["half"].view(torch.int16) ^ torch.tensor([0, 0, 0, 0, 1], dtype=torch.int16)).view(torch.bfloat16)),
        changed(empty=torch.zeros(3, 0)),
        changed(head=table()["embed"].clone()),
        changed(scalar=table()["scalar"].reshape(1)),
    ],
    ids=["a key", "a key less", "a shape", "a dtype", "a bit", "a shape of nothing", "a tie", "a dim"],
)
def test_the_whole_tells(other):
    assert surgeon.digest(other).whole != surgeon.digest(table()).whole


def test_keys_which_could_be_taken_for_other_lines_are_told_apart():
    first, second = torch.ones(1), torch.zeros(1)
    tables = [{'a","float32",[1],"': first, "b": second}, {"a": first, '","float32",[1],"b': second}, {"a\n": first, "b": second}]
    assert len({surgeon.digest(each).whole for each in tables}) == 3


def test_values_which_are_computed_are_those_which_are_written(tmp_path):
    rules = [
        {"cast": {"match": "large", "dtype": "bfloat16"}},
        {"split": {"source": "embed", "target": ["a", "b"]}},
        {"copy": {"half": "half again"}},
        {"adapt_in_channels": {"match": "conv", "mode": "mean", "in_channels": 2}},
    ]
    given = {**table(), "conv": torch.randn(2, 3, 3, 3)}
    digests = write(saved(tmp_path, given), tmp_path / "out.pt", {"version": 1, "rules": rules, "allow": {"casts": ["large"]}})
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)
    assert digests.tensors == plain(loaded, {})[0]
    assert digests.tensors["half"] == digests.tensors["half again"]
    assert digests == surgeon.digest(tmp_path / "out.pt")


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
def test_an_output_is_the_same_with_and_without(tmp_path, out):
    source = saved(tmp_path, table())
    write(source, tmp_path / out)
    (tmp_path / "other").mkdir()
    assert surgeon.write(surgeon.plan(source), tmp_path / "other" / out).digests is None
    assert (tmp_path / out).read_bytes() == (tmp_path / "other" / out).read_bytes()


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
def test_each_byte_is_read_once(tmp_path, monkeypatch, out):
    tensors = {f"{i}": torch.full((100_000 + i,), float(i)) for i in range(4)}
    source, reads = saved(tmp_path, tensors), []
    read = disk.InputFile.read

    def watched(file: disk.InputFile, offset: int, nbytes: int) -> bytes:
        if file.path == str(source):
            reads.append(nbytes)
        return read(file, offset, nbytes)

    monkeypatch.setattr(disk.InputFile, "read", watched)
    plan = surgeon.plan(source)
    reads.clear()
    surgeon.write(plan, tmp_path / "unread.pt")
    headers = sum(reads)
    reads.clear()
    surgeon.write(plan, tmp_path / out, digest="sha256")
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert sum(reads) == headers + total
    assert max(reads) <= 256 * 1024


def damaged(folder: Path) -> Path:
    """A `.pt` in which a byte of the large tensor is another than its checksum says."""
    path = saved(folder, table())
    data = bytearray(path.read_bytes())
    data[data.index(bytes_of(table()["large"])[-64:])] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("out", ["out.safetensors", "out.pt"])
def test_damage_in_what_moves_past_is_found_and_leaves_the_old_one(tmp_path, out):
    source = damaged(tmp_path)
    (tmp_path / out).write_bytes(b"precious")
    with pytest.raises(CorruptError, match="damaged"):
        write(source, tmp_path / out, force=True)
    assert (tmp_path / out).read_bytes() == b"precious"
    with pytest.raises(CorruptError, match="damaged"):
        surgeon.digest(source)


def test_what_is_no_plain_tensor_has_no_digest_and_a_note(tmp_path):
    source = saved(tmp_path, {**table(), "odd": torch.eye(3).to_sparse()})
    outcome = surgeon.write(surgeon.plan(source), tmp_path / "out.pt", digest="sha256")
    assert outcome.digests == surgeon.digest(table())
    assert outcome.notes == ("no part of the digest, since they are no plain tensors: odd",)
    assert not surgeon.write(surgeon.plan(source), tmp_path / "other.pt").notes


def test_an_empty_checkpoint_has_a_digest(tmp_path):
    assert write(saved(tmp_path, {}), tmp_path / "out.safetensors").whole == hashlib.sha256(b"").hexdigest()


def test_a_tied_opaque_entry_is_left_out_like_any(tmp_path):
    odd = torch.eye(3).to_sparse()
    assert surgeon.digest(saved(tmp_path, {"a": odd, "b": odd, "c": torch.ones(1)})) == surgeon.digest({"c": torch.ones(1)})


def test_progress_goes_up_to_the_whole(tmp_path):
    calls = []
    surgeon.digest(saved(tmp_path, table()), progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (surgeon.inspect(table()).nbytes,) * 2


def test_a_model_to_be_has_nothing_to_take_a_digest_of():
    with pytest.raises(ModelError, match="the checkpoint has no values"):
        surgeon.digest(surgeon.inspect(table()))
    with pytest.raises(ModelError, match="meta device"), torch.device("meta"):
        surgeon.digest(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("algorithm", ["md5", "", "SHA256"])
def test_an_unknown_algorithm_is_refused_before_anything_is_made(tmp_path, algorithm):
    source = saved(tmp_path, table())
    with pytest.raises(SurgeryError, match="is no digest; known are sha256, blake3"):
        write(source, tmp_path / "out.pt", digest=algorithm)
    with pytest.raises(SurgeryError, match="is no digest"):
        surgeon.digest(source, algorithm)
    assert [path.name for path in tmp_path.iterdir()] == ["source.pt"]


def test_a_digest_which_is_not_installed_is_said_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "blake3", None)
    with pytest.raises(SurgeryError, match="blake3 is not installed") as caught:
        write(saved(tmp_path, table()), tmp_path / "out.pt", digest="blake3")
    assert "ckpt-surgeon[digest]" in caught.value.hint
    assert not (tmp_path / "out.pt").exists()


@NEEDS_BLAKE3
def test_blake3_is_that_of_its_package(tmp_path):
    from blake3 import blake3

    digests = write(saved(tmp_path, table()), tmp_path / "out.safetensors", digest="blake3")
    assert digests.tensors == {key: blake3(bytes_of(tensor)).hexdigest() for key, tensor in table().items()}
    assert digests == surgeon.digest(tmp_path / "out.safetensors", "blake3")
    assert digests.whole != surgeon.digest(table()).whole


def test_the_algorithms_are_those_which_the_extra_is_for():
    assert list(ALGORITHMS) == ["sha256", "blake3"]


def test_bytes_which_only_move_need_no_torch(tmp_path):
    saved(tmp_path, {"a": torch.ones(2, 3), "b": torch.ones(4)})
    code = (
        "import sys, ckpt_surgeon as s\n"
        "for out in ('a.safetensors', 'b.pt', 'c'):\n"
        "    done = s.write(s.plan('source.pt', [{'add_prefix': 'm.'}]), out, digest='sha256')\n"
        "    assert s.digest(out) == done.digests\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_ties_which_safetensors_itself_does_not_know_are_no_ties(tmp_path):
    """Two equal tensors are not one tensor."""
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "two.safetensors")
    one = torch.ones(2)
    assert surgeon.digest(tmp_path / "two.safetensors").tensors == surgeon.digest({"a": one, "b": one}).tensors
    assert surgeon.digest(tmp_path / "two.safetensors").whole != surgeon.digest({"a": one, "b": one}).whole
