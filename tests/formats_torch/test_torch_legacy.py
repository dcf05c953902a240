"""The single-stream layout: what torch wrote before 1.6, and every way in which a stream can lie."""

from __future__ import annotations

import argparse
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_files import assert_same, converted, opened, opened_legacy, raw_bytes, saved_legacy, storage_node, table_node, tensor_node

from ckpt_surgeon.errors import CorruptError, RulesError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node, Persistent
from ckpt_surgeon.formats.pickle_writer import write_pickle

MAGIC = 0x1950A86A20F9469CFC6C


class Net(torch.nn.Module):
    """A module whose source text torch used to put into the file."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)


def stream(folder: Path, root: Node, storages: dict[str, tuple[int, bytes]] | None = None, **parts: Any) -> Path:
    """A stream by hand; `parts`: magic, protocol, keys, tail."""
    storages = storages or {}
    heads = [
        parts.get("magic", MAGIC),
        parts.get("protocol", 1001),
        Dict([("little_endian", True)]),
        root,
        parts.get("keys", list(storages)),
    ]
    data = b"".join(write_pickle(node) for node in heads)
    data += b"".join(struct.pack("<q", numel) + raw for numel, raw in storages.values())
    path = folder / "stream.pt"
    path.write_bytes(data + parts.get("tail", b""))
    return path


def legacy_storage(key: str = "0", numel: int = 6, view: Node = None, owner: str = "FloatStorage") -> Persistent:
    return Persistent((*storage_node(key, owner, numel).pid, view))


TABLES: dict[str, Any] = {
    "a state_dict": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict(),
    "dtypes": {
        str(dtype): torch.ones(3, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)
    },
    "views": {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.arange(6.0)[2:4], "c": torch.tensor(1.0), "d": torch.empty(0, 2)},
    "expanded": {"a": torch.ones(1).expand(3, 3)},
    "parameters": {"a": torch.nn.Parameter(torch.ones(2))},
    "fp8": {"a": torch.ones(3).to(torch.float8_e5m2)},
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read(tmp_path: Path, name: str) -> None:
    with opened_legacy(saved_legacy(tmp_path, TABLES[name])) as reader:
        assert reader.header.format == "torch-legacy"
        assert list(reader.header.tensors) == list(TABLES[name])
        for key, tensor in TABLES[name].items():
            assert_same(reader.read(key), tensor)
            span = reader.span(key)
            assert span is None or span.read(0, span.nbytes) == raw_bytes(tensor)
            assert (span is not None) == (tensor.is_contiguous() or not tensor.numel())


def test_ties_and_metadata_are_read(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[1].weight = net[0].weight
    with opened_legacy(saved_legacy(tmp_path, {"state_dict": net.state_dict(), "epoch": 3})) as reader:
        assert dict(reader.header.aliases) == {"1.weight": "0.weight"}
        assert dict(reader.header.torch_metadata) == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 1}}
        assert reader.header.envelope.contents == {"epoch": "3"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_whole_module_with_its_source_text_is_read(tmp_path: Path) -> None:
    net = Net()
    with opened_legacy(saved_legacy(tmp_path, net)) as reader:
        assert list(reader.header) == ["layer.weight", "layer.bias"]
        assert set(reader.header.kinds.values()) == {"parameter"}
        assert_same(reader.read("layer.weight"), net.layer.weight)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [*TABLES, "envelope", "module beside"])
def test_a_stream_is_written_as_a_zip_with_the_same_objects(tmp_path: Path, name: str) -> None:
    extra = {
        "envelope": {"state_dict": TABLES["a state_dict"], "args": argparse.Namespace(lr=0.1), "step": 3},
        "module beside": {"state_dict": TABLES["a state_dict"], "config": {"kind": Net}},
    }
    value = extra.get(name) or TABLES[name]
    with opened_legacy(saved_legacy(tmp_path, value)) as reader:
        path = converted(reader, tmp_path / "out.pt")
    found = torch.load(path, weights_only=False, mmap=True)
    assert list(found) == list(value)
    table, wanted = (found, value) if name in TABLES else (found["state_dict"], value["state_dict"])
    for key, tensor in wanted.items():
        assert_same(table[key], tensor)
    if name == "envelope":
        assert (found["args"], found["step"]) == (argparse.Namespace(lr=0.1), 3)
    with opened(path) as again:
        assert again.header.format == "torch"


def test_several_tables_are_listed(tmp_path: Path) -> None:
    path = saved_legacy(tmp_path, {"a": TABLES["views"], "b": TABLES["dtypes"]})
    with pytest.raises(RulesError, match="2 tables"):
        opened_legacy(path)
    with opened_legacy(path, "b") as reader:
        assert list(reader.header) == list(TABLES["dtypes"])


def test_a_pickle_longer_than_the_first_window_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_surgeon.formats.torch_legacy._FIRST_WINDOW_BYTES", 64)
    value = {f"layer{index}.weight": torch.full((3,), float(index)) for index in range(200)}
    with opened_legacy(saved_legacy(tmp_path, value)) as reader:
        assert_same(reader.read("layer199.weight"), value["layer199.weight"])


def test_views_of_a_storage_are_parts_of_it(tmp_path: Path) -> None:
    first = tensor_node(legacy_storage(view=("0-0", 0, 2)), 0, (2,), (1,))
    second = tensor_node(legacy_storage(view=("0-1", 2, 4)), 1, (3,), (1,))
    same = tensor_node(legacy_storage(view=("0-0", 0, 2)), 0, (2,), (1,))
    root = Dict(
        [("state_dict", table_node(a=first, b=second, c=same)), ("view", tensor_node(legacy_storage(view=("0-1", 2, 4)), 0, (4,), (1,)))]
    )
    with opened_legacy(stream(tmp_path, root, {"0": (6, raw_bytes(torch.arange(6.0)))})) as reader:
        assert [reader.read(key).tolist() for key in reader.header] == [[0, 1], [3, 4, 5], [0, 1]]
        assert dict(reader.header.aliases) == {"c": "a"}
        path = converted(reader, tmp_path / "out.pt")
    found = torch.load(path, weights_only=True, mmap=True)
    assert {key: tensor.tolist() for key, tensor in found["state_dict"].items()} == {"a": [0, 1], "b": [3, 4, 5], "c": [0, 1]}
    assert found["view"].tolist() == [2, 3, 4, 5]


def test_keys_of_python_2_are_read(tmp_path: Path) -> None:
    data = write_pickle(table_node(aa=tensor_node(legacy_storage()))).replace(b"X\x02\x00\x00\x00aa", b"U\x02aa")
    path = stream(tmp_path, None, {"0": (6, bytes(24))})
    path.write_bytes(path.read_bytes().replace(write_pickle(None) + write_pickle(["0"]), data + write_pickle(["0"])))
    with opened_legacy(path) as reader:
        assert list(reader.header) == ["aa"]


TABLE = table_node(a=tensor_node(legacy_storage()))
SIX = {"0": (6, bytes(24))}
BAD: list[tuple[str, Node, dict[str, tuple[int, bytes]], dict[str, Any], type[SurgeryError], str]] = [
    ("another magic number", TABLE, SIX, {"magic": 7}, CorruptError, "does not start as torch's"),
    ("a magic text", TABLE, SIX, {"magic": "x"}, CorruptError, "does not start as torch's"),
    ("another protocol", TABLE, SIX, {"protocol": 1002}, CorruptError, "protocol"),
    ("no storage", TABLE, {}, {}, CorruptError, "not in the file"),
    ("keys which are no list", TABLE, SIX, {"keys": "0"}, CorruptError, "list of different names"),
    ("keys which are numbers", TABLE, SIX, {"keys": [0]}, CorruptError, "list of different names"),
    ("a key twice", TABLE, SIX, {"keys": ["0", "0"]}, CorruptError, "list of different names"),
    ("a storage which no tensor names", TABLE, SIX | {"1": (1, bytes(4))}, {}, CorruptError, "no tensor names it"),
    ("a cut storage", TABLE, {"0": (6, bytes(20))}, {}, CorruptError, "does not fit into the file"),
    ("a storage of fewer elements", TABLE, {"0": (5, bytes(20))}, {}, CorruptError, "claims 24"),
    ("a storage of 2**62 elements", TABLE, {"0": (2**62, bytes(24))}, {}, CorruptError, "does not fit into the file"),
    ("a storage of -1 elements", TABLE, {"0": (-1, bytes(24))}, {}, CorruptError, "does not fit into the file"),
    ("no room for a number of elements", TABLE, {}, {"keys": ["0"], "tail": b"\1\2"}, CorruptError, "ends before storage"),
    ("bytes after the end", TABLE, SIX, {"tail": b"x"}, CorruptError, "goes on for 1 bytes"),
    ("a view past its storage", table_node(a=tensor_node(legacy_storage(view=("v", 3, 4)))), SIX, {}, CorruptError, "no part of it"),
    ("a view of a negative offset", table_node(a=tensor_node(legacy_storage(view=("v", -1, 4)))), SIX, {}, CorruptError, "no part of it"),
    ("a view which is a text", table_node(a=tensor_node(legacy_storage(view="view"))), SIX, {}, CorruptError, "no part of it"),
    ("a view of two values", table_node(a=tensor_node(legacy_storage(view=("v", 3)))), SIX, {}, CorruptError, "no part of it"),
    ("a tensor past its view", table_node(a=tensor_node(legacy_storage(view=("v", 0, 5)))), SIX, {}, CorruptError, "past the 20 bytes"),
    ("no table", Dict([("epoch", 3)]), {}, {}, CorruptError, "no table"),
]  # fmt: skip


@pytest.mark.parametrize(("root", "storages", "parts", "error", "text"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_stream_is_refused(
    tmp_path: Path, root: Node, storages: dict[str, tuple[int, bytes]], parts: dict[str, Any], error: type[SurgeryError], text: str
) -> None:
    path = stream(tmp_path, root, storages, **parts)
    with pytest.raises(error, match=text) as caught:
        opened_legacy(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_good_stream_by_hand_is_read(tmp_path: Path) -> None:
    with opened_legacy(stream(tmp_path, TABLE, SIX)) as reader:
        assert reader.read("a").shape == (2, 3)


def test_a_stream_cut_anywhere_is_corrupt(tmp_path: Path) -> None:
    data = saved_legacy(tmp_path, {"a": torch.ones(3)}).read_bytes()
    path = tmp_path / "cut.pt"
    for end in range(0, len(data), 5):
        path.write_bytes(data[:end])
        with pytest.raises(CorruptError):
            opened_legacy(path)


@pytest.mark.parametrize("position", range(5))
def test_each_of_the_five_pickles_is_only_described(tmp_path: Path, position: int) -> None:
    canary = tmp_path / "canary"
    heads: list[Node] = [MAGIC, 1001, Dict(), TABLE, ["0"]]
    heads[position] = Call(Global("posix", "mkdir"), (str(canary),))
    path = tmp_path / "bad.pt"
    path.write_bytes(b"".join(write_pickle(node) for node in heads) + struct.pack("<q", 6) + bytes(24))
    try:
        opened_legacy(path).close()
    except (CorruptError, UnsafeError):
        assert position != 2
    assert not canary.exists()


def test_a_plain_pickle_is_no_checkpoint_of_torch(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CorruptError, match="no checkpoint of torch"):
        opened_legacy(tmp_path / "x.pkl")
