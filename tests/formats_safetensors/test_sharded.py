"""Folders of shards: read with their index, which must agree with them both ways; written as other tools read them."""

import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError, LimitError, SurgeryError
from ckpt_surgeon.formats.index_file import MAX_INDEX_BYTES
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.sharded_writer import ShardedWriter
from ckpt_surgeon.spec import Header, Opaque, TensorSpec

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write_index(folder, weight_map, metadata=None, name=INDEX):
    (folder / name).write_text(json.dumps({"metadata": metadata or {"total_size": 24}, "weight_map": weight_map}))


@pytest.fixture
def folder(tmp_path):
    """Two shards and their index: b, c in the first, a in the second."""
    home = tmp_path / "model"
    home.mkdir()
    save_file({"c": torch.full((2,), 3.0), "b": torch.full((2,), 2.0)}, home / ONE, metadata={"format": "pt"})
    save_file({"a": torch.full((2,), 1.0)}, home / TWO, metadata={"format": "pt"})
    write_index(home, {"a": TWO, "b": ONE, "c": ONE})
    return home


@pytest.mark.parametrize("given", ["", INDEX])
def test_a_folder_and_its_index_file_open_the_same_checkpoint(folder, given):
    with open_checkpoint(str(folder / given)) as reader:
        assert list(reader.header) == ["b", "c", "a"]
        assert reader.header.format == "safetensors"
        assert reader.header.metadata == {"format": "pt"}
        assert {key: reader.read(key).tolist() for key in reader.header} == {"a": [1, 1], "b": [2, 2], "c": [3, 3]}
        assert reader.span("a").file.path == str(folder / TWO)
        assert [os.path.basename(path) for path in reader.paths] == [INDEX, ONE, TWO]


def test_text_on_which_the_shards_agree_and_the_indexs_own_is_the_metadata(folder):
    save_file({"a": torch.ones(2)}, folder / TWO, metadata={"format": "pt", "author": "x"})
    write_index(folder, {"a": TWO, "b": ONE, "c": ONE}, {"total_size": 24, "total_parameters": 6, "note": "n", "tags": ["t"]})
    with open_checkpoint(str(folder)) as reader:
        assert reader.header.metadata == {"format": "pt", "note": "n", "tags": '["t"]'}


def test_an_index_without_metadata_is_read(folder):
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": TWO, "b": ONE, "c": ONE}}))
    with open_checkpoint(str(folder)) as reader:
        assert len(reader.header) == 3


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": TWO, "b": ONE}, f"c: {ONE} holds it, the index does not name it"),
        ({"a": TWO, "b": ONE, "c": ONE, "d": ONE}, f"d: the index says {ONE}, no shard holds it"),
        ({"a": TWO, "b": ONE, "c": TWO}, f"c: {ONE} holds it, the index says {TWO}"),
    ],
    ids=["extra in a shard", "missing in the shards", "in the wrong shard"],
)
def test_an_index_which_disagrees_with_its_shards_is_refused(folder, weight_map, message):
    write_index(folder, weight_map)
    with pytest.raises(CorruptError) as caught:
        open_checkpoint(str(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["model-00003-of-00002.safetensors", "model-1-of-00002.safetensors"])
def test_a_shard_of_the_same_cut_which_the_index_does_not_name_is_refused(folder, name):
    save_file({"d": torch.ones(2)}, folder / name)
    with pytest.raises(CorruptError, match=f"the index does not name the shard '{name}'") as caught:
        open_checkpoint(str(folder))
    assert "index" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00003.safetensors",
        "model-00001-of-00002.bin",
        "other-00001-of-00002.safetensors",
        "model-00001-of-00002.fp16.safetensors",
        "consolidated.safetensors",
        "model.safetensors",
    ],
)
def test_a_checkpoint_of_another_cut_beside_the_shards_is_left_alone(folder, name):
    save_file({"d": torch.ones(2)}, folder / name)
    with open_checkpoint(str(folder)) as reader:
        assert list(reader.header) == ["b", "c", "a"]


def test_a_key_in_two_shards_is_refused(folder):
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, folder / TWO)
    with pytest.raises(CorruptError, match=f"b: it stands in two shards, {ONE} and {TWO}"):
        open_checkpoint(str(folder))


def test_all_disagreements_are_named_together_but_not_without_end(folder):
    write_index(folder, {"a": TWO, "b": ONE, "c": ONE, **{f"x{i}": ONE for i in range(500)}})
    with pytest.raises(CorruptError) as caught:
        open_checkpoint(str(folder))
    assert len(caught.value.problems) == 20


def test_a_missing_shard_is_named_with_what_to_do(folder):
    (folder / TWO).unlink()
    with pytest.raises(CorruptError, match=f"{TWO}.* is not there") as caught:
        open_checkpoint(str(folder))
    assert "missing shard" in caught.value.hint


def test_a_cut_shard_is_named(folder):
    os.truncate(folder / TWO, 70)
    with pytest.raises(CorruptError, match=f"{TWO}.*early"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "a\\b", "a\0b", 7, None, ["x"]], ids=repr)
def test_a_shard_with_no_plain_name_is_refused(folder, name):
    write_index(folder, {"a": name})
    with pytest.raises(CorruptError, match="no plain file name"):
        open_checkpoint(str(folder))


def test_a_shard_which_links_out_of_the_folder_is_refused(folder, tmp_path):
    (folder / TWO).rename(tmp_path / TWO)
    (folder / TWO).symlink_to(tmp_path / TWO)
    with pytest.raises(CorruptError, match="leads out of its folder"):
        open_checkpoint(str(folder))


def test_a_shard_which_links_to_its_neighbor_is_read(folder):
    (folder / TWO).rename(folder / "other")
    (folder / TWO).symlink_to("other")
    with open_checkpoint(str(folder)) as reader:
        assert reader.read("a").tolist() == [1, 1]


def test_the_cache_of_the_hub_where_each_file_is_a_link_to_a_blob_is_read(folder, tmp_path):
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, name in enumerate([INDEX, ONE, TWO]):
        (folder / name).rename(blobs / f"hash{i}")
        (snapshot / name).symlink_to(f"../../blobs/hash{i}")
    with open_checkpoint(str(snapshot)) as reader:
        assert list(reader.header) == ["b", "c", "a"]


def test_a_folder_reached_through_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with open_checkpoint(str(tmp_path / "link")) as reader:
        assert len(reader.header) == 3


@pytest.mark.parametrize("kind", ["folder", "fifo", "index", "text"])
def test_a_shard_which_is_no_checkpoint_is_refused(folder, kind):
    (folder / TWO).unlink()
    if kind == "folder":
        (folder / TWO).mkdir()
    elif kind == "fifo":
        os.mkfifo(folder / TWO)
    else:
        (folder / TWO).write_text((folder / INDEX).read_text() if kind == "index" else "hello world, no checkpoint")
    with pytest.raises((CorruptError, DiskError), match=TWO):
        open_checkpoint(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"weight_map": []}',
        '{"weight_map": null}',
        '{"weight_map": {}, "metadata": [1]}',
        '{"weight_map": {"a": "x", "a": "x"}}',
        '{"weight_map": {"a": "x"}',
        '{"weight_map": {"a": NaN}}',
        '{"weight_map": ' + '{"a":' * 10_000 + "1" + "}" * 10_001,
    ],
    ids=lambda text: text[:30],
)
def test_a_file_which_is_no_strict_index_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(CorruptError, match=INDEX):
        open_checkpoint(str(tmp_path))


def test_an_index_over_the_limit_is_refused_unread(tmp_path):
    (tmp_path / INDEX).write_text("{")
    os.truncate(tmp_path / INDEX, MAX_INDEX_BYTES + 1)
    with pytest.raises(LimitError, match=str(MAX_INDEX_BYTES)):
        open_checkpoint(str(tmp_path))


def test_no_table_can_be_picked_where_there_is_one(folder):
    for path in (folder, folder / ONE):
        with pytest.raises(SurgeryError, match="no table 'ema'"):
            open_checkpoint(str(path), "ema")


def test_every_file_is_closed_when_a_shard_is_refused(folder):
    (folder / TWO).write_text("hello world, no checkpoint")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CorruptError):
        open_checkpoint(str(folder))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_torch_shards_are_read_through_their_index(tmp_path):
    torch.save({"a": torch.ones(2), "tied": torch.ones(1)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    homes = {"a": "pytorch_model-00001-of-00002.bin", "tied": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    write_index(tmp_path, homes, name="pytorch_model.bin.index.json")
    with open_checkpoint(str(tmp_path)) as reader:
        assert list(reader.header) == ["a", "tied", "b"]
        assert reader.header.format == "torch"
        assert reader.read("b").tolist() == [0, 0, 0]
        span = reader.span("a")
        assert span.read(0, span.nbytes) == torch.ones(2).numpy().tobytes()


def test_a_wrapped_torch_shard_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 1}, tmp_path / "x.bin")
    write_index(tmp_path, {"a": "x.bin"}, name="pytorch_model.bin.index.json")
    with pytest.raises(CorruptError, match="envelope"):
        open_checkpoint(str(tmp_path))


SPEC = TensorSpec.of("uint8", 4)
WHOLE = Header(
    {"z": SPEC, "tied": SPEC, "y": SPEC, "x": SPEC},
    aliases={"tied": "z"},
    metadata={"format": "pt", "author": "Ünï"},
    torch_metadata={"": {"version": 1}},
)


def write(path, header=WHOLE, limit=8):
    writer = ShardedWriter(str(path), header, limit)
    for key in header.tensors:
        if key not in header.aliases:
            writer.write(key, [key.encode() * 4])
    writer.close()
    return writer


def test_what_is_written_is_read_back_whole(tmp_path):
    writer = write(tmp_path / "out")
    with open_checkpoint(str(tmp_path / "out")) as reader:
        assert list(reader.header.entries.items()) == list(WHOLE.entries.items())
        assert (reader.header.aliases, reader.header.metadata) == (WHOLE.aliases, WHOLE.metadata)
        assert reader.header.torch_metadata == WHOLE.torch_metadata
        assert bytes(reader.read("tied").tolist()) == b"zzzz"
        assert bytes(reader.read("x").tolist()) == b"xxxx"
    assert sorted(os.listdir(tmp_path / "out")) == [ONE, TWO, INDEX]
    assert writer.nbytes >= 12


def test_a_checkpoint_without_tensors_is_written_too(tmp_path):
    ShardedWriter(str(tmp_path / "out"), Header({}, metadata={"epoch": "3"}), 8).close()
    with open_checkpoint(str(tmp_path / "out")) as reader:
        assert (dict(reader.header.entries), reader.header.metadata["epoch"]) == ({}, "3")


def test_a_tensor_which_is_not_due_is_an_error(tmp_path):
    writer = ShardedWriter(str(tmp_path / "out"), Header({"a": TensorSpec.of("uint8", 1)}), 8)
    writer.write("a", [b"a"])
    with pytest.raises(ValueError, match="nothing more is due"):
        writer.write("b", [b"b"])
    writer.abort()


def test_shards_and_index_are_what_other_tools_expect(tmp_path):
    write(tmp_path / "out")
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["metadata"]["total_size"] == 12
    assert index["weight_map"] == {"z": ONE, "y": ONE, "x": TWO}
    found = {}
    for name in (ONE, TWO):
        found |= load_file(tmp_path / "out" / name)
    assert {key: bytes(value.tolist()) for key, value in found.items()} == {"z": b"zzzz", "y": b"yyyy", "x": b"xxxx"}


def test_two_runs_write_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name)
    for name in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(("limit", "names"), [(100, 1), (12, 1), (11, 2), (4, 3), (1, 3)])
def test_a_smaller_limit_makes_more_shards(tmp_path, limit, names):
    write(tmp_path / "out", limit=limit)
    assert len(os.listdir(tmp_path / "out")) == names + 1


def test_a_header_without_tensors_is_one_empty_shard(tmp_path):
    write(tmp_path / "out", Header({}))
    with open_checkpoint(str(tmp_path / "out")) as reader:
        assert len(reader.header) == 0


def test_an_entry_which_safetensors_cannot_hold_is_refused_before_the_folder_is_made(tmp_path):
    with pytest.raises(SurgeryError, match="a set"):
        ShardedWriter(str(tmp_path / "out"), Header({"x": Opaque("a set")}), 8)
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_not_written_into(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DiskError, match="exists"):
        ShardedWriter(str(tmp_path / "out"), WHOLE, 8)


@pytest.mark.parametrize("keys", [["y"], ["z", "x"], ["z", "tied"], ["z", "y", "x", "x"], ["q"]])
def test_a_key_out_of_order_is_a_value_error(tmp_path, keys):
    writer = ShardedWriter(str(tmp_path / "out"), WHOLE, 8)
    for key in keys[:-1]:
        writer.write(key, [b"abcd"])
    with pytest.raises(ValueError, match="written"):
        writer.write(keys[-1], [b"abcd"])
    writer.abort()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_closing_with_tensors_due_is_a_value_error_and_writes_no_index(tmp_path, count):
    writer = ShardedWriter(str(tmp_path / "out"), WHOLE, 8)
    for key in ["z", "y"][:count]:
        writer.write(key, [b"abcd"])
    with pytest.raises(ValueError, match="never written"):
        writer.close()
    writer.abort()
    assert INDEX not in os.listdir(tmp_path / "out")


def test_a_full_disk_is_known_before_the_first_shard(tmp_path, monkeypatch):
    class Full(type(disk.system)):
        def free_bytes(self, path):
            return 10

    monkeypatch.setattr(disk, "system", Full())
    with pytest.raises(DiskError, match="10 are free"):
        ShardedWriter(str(tmp_path / "out"), WHOLE, 8)
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    "metadata",
    [{"ckpt_surgeon.ties": '{"x": "nowhere"}'}, {"ckpt_surgeon.torch_metadata": "[]"}, {"ckpt_surgeon.order": '["a"]'}],
    ids=str,
)
def test_what_we_carry_in_an_index_is_checked_hard(folder, metadata):
    write_index(folder, {"a": TWO, "b": ONE, "c": ONE}, metadata)
    with pytest.raises(CorruptError, match=rf"{INDEX}.*ckpt_surgeon"):
        open_checkpoint(str(folder))


def test_shards_of_several_formats_are_refused(folder):
    torch.save({"a": torch.ones(2)}, folder / TWO)
    with pytest.raises(CorruptError, match="several formats: safetensors, torch"):
        open_checkpoint(str(folder))


def test_an_opaque_entry_is_asked_of_its_shard(tmp_path):
    torch.save({"a": torch.ones(2), "m._extra_state": {"x": 1}}, tmp_path / "x.bin")
    write_index(tmp_path, {"a": "x.bin", "m._extra_state": "x.bin"}, name="pytorch_model.bin.index.json")
    with open_checkpoint(str(tmp_path)) as reader:
        assert list(reader.header.opaque) == ["m._extra_state"]
        assert reader.read_opaque("m._extra_state") == {"x": 1}
        with pytest.raises(KeyError):
            reader.read_opaque("a key which is nowhere")


def test_versions_of_modules_in_torch_shards_are_joined(tmp_path):
    for name in "ab":
        module = torch.nn.Sequential()
        module.add_module(name, torch.nn.BatchNorm1d(2))
        torch.save(module.state_dict(), tmp_path / f"{name}.bin")
    keys = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    write_index(tmp_path, {f"{name}.{key}": f"{name}.bin" for name in "ab" for key in keys}, name="pytorch_model.bin.index.json")
    with open_checkpoint(str(tmp_path)) as reader:
        assert reader.header.torch_metadata == {"": {"version": 1}, "a": {"version": 2}, "b": {"version": 2}}
        assert len(reader.header) == 10


def test_ties_within_a_torch_shard_stay_ties(tmp_path):
    weight = torch.ones(2)
    torch.save({"a": weight, "b": weight}, tmp_path / "x.bin")
    write_index(tmp_path, {"a": "x.bin", "b": "x.bin"}, name="pytorch_model.bin.index.json")
    with open_checkpoint(str(tmp_path)) as reader:
        assert reader.header.aliases == {"b": "a"}
        assert reader.read("b").tolist() == [1, 1]


def test_a_folder_may_be_cut_into_very_many_shards(tmp_path):
    header = Header({f"w{i}": TensorSpec.of("uint8", 1) for i in range(300)})
    writer = ShardedWriter(str(tmp_path / "out"), header, 1)
    for i in range(300):
        writer.write(f"w{i}", [bytes([i % 256])])
    writer.close()
    with open_checkpoint(str(tmp_path / "out")) as reader:
        assert list(reader.header) == [f"w{i}" for i in range(300)]
        assert reader.read("w7").item() == 7


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 20), max_size=8), limit=st.integers(1, 30))
def test_whatever_the_cut_the_checkpoint_is_the_same(tmp_path_factory, sizes, limit):
    path = str(tmp_path_factory.mktemp("cut") / "out")
    header = Header({f"w{i}": TensorSpec.of("uint8", size) for i, size in enumerate(sizes)}, metadata={"format": "pt"})
    writer = ShardedWriter(path, header, limit)
    for i, size in enumerate(sizes):
        writer.write(f"w{i}", [bytes([i]) * size])
    writer.close()
    with open_checkpoint(path) as reader:
        assert list(reader.header.entries.items()) == list(header.entries.items())
        assert [bytes(reader.read(f"w{i}").tolist()) for i in range(len(sizes))] == [bytes([i]) * size for i, size in enumerate(sizes)]


class Swapping(type(disk.system)):
    """The real machine, but two folders are exchanged before the openings of the file `name` whose numbers are in `turns`."""

    def __init__(self, name, first, second, turns):
        self.name, self.folders, self.turns, self.openings = name, (str(first), str(second)), turns, 0

    def open(self, path, flags, mode=0o666):
        if os.path.basename(path) == self.name:
            if self.openings in self.turns:
                self.exchange(*self.folders)
            self.openings += 1
        return super().open(path, flags, mode)


@pytest.fixture
def other(folder):
    """The same keys and shards as in `folder`, of other values."""
    home = folder.parent / "other"
    home.mkdir()
    save_file({"c": torch.full((2,), 30.0), "b": torch.full((2,), 20.0)}, home / ONE, metadata={"format": "pt"})
    save_file({"a": torch.full((2,), 10.0)}, home / TWO, metadata={"format": "pt"})
    write_index(home, {"a": TWO, "b": ONE, "c": ONE})
    return home


@pytest.mark.parametrize("given", ["", INDEX])
@pytest.mark.parametrize("name", [INDEX, ONE, TWO])
@pytest.mark.parametrize("turns", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_a_folder_which_is_swapped_while_it_is_opened_is_never_read_as_a_mixture(folder, other, monkeypatch, given, name, turns):
    monkeypatch.setattr(disk, "system", Swapping(name, folder, other, turns))
    with open_checkpoint(str(folder / given)) as reader:
        values = [reader.read(key)[0].item() for key in reader.header]
    assert values in ([2, 3, 1], [20, 30, 10])


@pytest.mark.parametrize("given", ["", INDEX])
def test_a_folder_which_is_swapped_over_and_over_is_given_up(folder, other, monkeypatch, given):
    monkeypatch.setattr(disk, "system", Swapping(TWO, folder, other, range(1000)))
    with pytest.raises(DiskError, match="again and again"):
        open_checkpoint(str(folder / given))


def test_a_folder_which_another_of_other_shards_replaces_while_it_is_opened_is_opened_anew(folder, other, monkeypatch):
    os.rename(other / INDEX, other / "pytorch_model.bin.index.json")
    monkeypatch.setattr(disk, "system", Swapping(INDEX, folder, other, {0}))
    with open_checkpoint(str(folder)) as reader:
        assert reader.read("a").tolist() == [10, 10]
