"""What the fuzzer found, each as the smallest file which shows it: what must be refused, and beside it what must be read."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from pickle_values import STORAGES
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save
from zip_archives import Archive, Record

import ckpt_surgeon as surgeon
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.pickle_reader import read_pickle

FILE, FOLDER = 0o100644, 0o040755  # as Unix says what a record is, in the upper half of its attributes
FOLDER_MARK, ARCHIVE_MARK = 0x10, 0x20  # as DOS does, in the lower half


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor(owner: str = "FloatStorage", numel: int = 6, flag: str = "") -> bytes:
    """`_rebuild_tensor_v2` of two elements of storage 0, with a flag in its metadata."""
    storage = b"(" + text("storage") + f"ctorch\n{owner}\n".encode() + text("0") + text("cpu") + b"K%ctQ" % numel
    metadata = b"}" + text(flag) + b"\x88s" if flag else b""
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02\x85K\x01\x85\x89}" + metadata + b"tR"


def checkpoint(path: Path, value: bytes | None = None, outer: int = 0) -> Path:
    """A file whose table holds one tensor; `outer`: the attributes of the record of its storage."""
    pickled = b"\x80\x02}" + text("a") + (value or tensor()) + b"s."
    records = [Record("a/data.pkl", pickled), Record("a/data/0", STORAGES["0"], central={"outer": outer}), Record("a/version", b"3\n")]
    path.write_bytes(Archive(records).data())
    return path


@pytest.mark.parametrize("outer", [FOLDER_MARK, FOLDER << 16, (FILE << 16) | FOLDER_MARK])
def test_a_file_which_is_marked_as_a_folder_is_refused(tmp_path: Path, outer: int) -> None:
    """Of such a record torch reads no byte, and gives what its memory held before."""
    with pytest.raises(CorruptError, match=r"'a/data/0' .* marked as a folder"):
        surgeon.inspect(checkpoint(tmp_path / "x.pt", outer=outer))


@pytest.mark.parametrize("outer", [0, ARCHIVE_MARK, FILE << 16, (FILE << 16) | ARCHIVE_MARK])
def test_a_file_which_is_marked_as_a_file_is_read(tmp_path: Path, outer: int) -> None:
    assert surgeon.remap(checkpoint(tmp_path / "x.pt", outer=outer), [])["a"].tolist() == [1, 2]


def test_a_conjugated_tensor_of_a_real_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="conjugated tensor of the dtype f32"):
        surgeon.inspect(checkpoint(tmp_path / "x.pt", tensor(flag="conj")))


def test_a_conjugated_tensor_of_a_complex_dtype_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "x.pt", tensor("ComplexFloatStorage", numel=3, flag="conj"))
    assert surgeon.remap(path, [])["a"].tolist() == torch.load(path, weights_only=True)["a"].tolist() == [1 - 2j, 3 - 4j]


def test_a_negated_tensor_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "x.pt", tensor(flag="neg"))
    assert surgeon.remap(path, [])["a"].tolist() == torch.load(path, weights_only=True)["a"].tolist() == [-1, -2]


# Opcodes which leave three values of the memo in a tuple. A MEMOIZE counts the values in it, not the places.
MEMOS: dict[str, bytes] = {
    "in order": b"K\x05\x940K\x06\x940K\x07\x940h\x00h\x01h\x02",
    "from place 1 on, as Python 2 counts": b"K\x05q\x010K\x06q\x020K\x07q\x030h\x01h\x02h\x03",
    "after a free place": b"K\x05q\x010K\x06\x940K\x07\x940h\x01h\x01h\x01",
    "after two free places": b"K\x05q\x020K\x06\x940K\x07\x940h\x02h\x01h\x02",
    "into a place which is taken": b"K\x05q\x000K\x06q\x000K\x07\x940h\x00h\x01h\x01",
    "then into the free place": b"K\x05q\x010K\x06q\x000K\x07\x940h\x00h\x01h\x02",
}


@pytest.mark.parametrize("name", MEMOS)
def test_the_memo_is_counted_as_python_counts_it(name: str) -> None:
    data = b"\x80\x04" + MEMOS[name] + b"\x87."
    assert read_pickle(data)[0] == pickle.loads(data)


# What a planner says of the entries `a` and `b.c`, and the keys which they then have.
PLANS: dict[str, tuple[object, list[str]]] = {
    "the places of all": ({"a": ("x",), "b.c": ("y",)}, ["x", "y"]),
    "and of more": ({"a": ("x",), "b.c": ("y",), "d": ("d",)}, ["x", "y"]),
    "of some": ({"a": ("x",)}, ["a", "b.c"]),
    "of some and of others": ({"a": ("x",), "d": ("d",)}, ["a", "b.c"]),
    "of none": ({"d": ("d",)}, ["a", "b.c"]),
    "nothing": (None, ["a", "b.c"]),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_planner_which_does_not_place_every_entry_places_none(tmp_path: Path, name: str) -> None:
    places, keys = PLANS[name]
    table = {"a": torch.ones(2), "b": {"c": torch.zeros(3)}}
    save(table, storage_writer=FileSystemWriter(tmp_path), no_dist=True)
    metadata = pickle.loads((tmp_path / ".metadata").read_bytes())
    (tmp_path / ".metadata").write_bytes(pickle.dumps(dataclasses.replace(metadata, planner_data=places)))
    found = surgeon.remap(tmp_path, [])
    assert [(key, tensor.shape) for key, tensor in found.items()] == list(zip(keys, [(2,), (3,)], strict=True))
