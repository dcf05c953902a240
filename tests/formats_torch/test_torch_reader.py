"""TorchReader through its door: whole modules, opaque values, bad archives, and what it must never do."""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_files import assert_same, checkpoint, opened, packed, raw_bytes, saved, storage_node, table_node, tensor_node

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node
from ckpt_surgeon.formats.pickle_writer import write_pickle
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint
from ckpt_surgeon.formats.torch_reader import TorchReader


class Block(torch.nn.Module):
    """A module with everything a module may have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.register_parameter("absent", None)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("passing", torch.zeros(5), persistent=False)
        self.register_buffer("none", None)
        self.children_list = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
        self.head = torch.nn.Linear(2, 2)
        self.head.weight = self.children_list[0].weight
        self.drop = None
        self.note = {"any": "thing"}


MODULES: dict[str, torch.nn.Module] = {
    "block": Block(),
    "nested": torch.nn.Sequential(collections.OrderedDict(first=Block(), second=torch.nn.Sequential(Block()))),
    "data parallel": torch.nn.DataParallel(Block()),
    "transformer": torch.nn.TransformerEncoderLayer(8, 2, 16),
    "recurrent": torch.nn.LSTM(3, 4, 2),
    "no parameters": torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2)),
    "parameter list": torch.nn.ParameterList([torch.ones(1), torch.ones(2)]),
    "spectral norm": torch.nn.utils.spectral_norm(torch.nn.Linear(3, 3)),
    "half": Block().half(),
    "frozen": Block().requires_grad_(False),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_a_whole_module_is_its_state_dict(tmp_path: Path, name: str) -> None:
    module = MODULES[name]
    wanted = module.state_dict()
    with opened(saved(tmp_path, module)) as reader:
        assert list(reader.header) == list(wanted)
        for key, tensor in wanted.items():
            assert_same(reader.read(key), tensor)
        kinds = reader.header.kinds
        assert {key for key, kind in kinds.items() if kind == "parameter"} == set(dict(module.named_parameters(remove_duplicate=False)))
        assert set(kinds) == set(wanted)


def test_a_module_shared_by_two_names_is_walked_twice_and_tied(tmp_path: Path) -> None:
    linear = torch.nn.Linear(2, 2)
    with opened(saved(tmp_path, torch.nn.ModuleDict({"a": linear, "b": linear}))) as reader:
        assert list(reader.header) == ["a.weight", "a.bias", "b.weight", "b.bias"]
        assert dict(reader.header.aliases) == {"b.weight": "a.weight", "b.bias": "a.bias"}


def _module_node(parameters: Node = None, modules: Node = None, buffers: Node = None) -> Call:
    parts = [("_parameters", parameters or Dict()), ("_buffers", buffers or Dict()), ("_modules", modules or Dict())]
    return Call(Global("gone", "Net"), (), "newobj", state=Dict(parts))


def test_a_module_whose_class_is_gone_is_read(tmp_path: Path) -> None:
    inner = _module_node(Dict([("weight", tensor_node())]))
    root = _module_node(Dict([("scale", tensor_node())]), Dict([("layer", inner), ("none", None)]))
    with opened(checkpoint(tmp_path, root, {"0": bytes(24)})) as reader:
        assert list(reader.header) == ["scale", "layer.weight"]


def _endless(depth: int) -> Call:
    node = _module_node(Dict([("weight", tensor_node())]))
    for _ in range(depth):
        node = _module_node(modules=Dict([("x", node)]))
    return node


def _doubled(levels: int) -> Call:
    node = _module_node(Dict([("weight", tensor_node())]))
    for _ in range(levels):
        node = _module_node(modules=Dict([("a", node), ("b", node)]))
    return node


def _itself() -> Call:
    node = _module_node(Dict([("weight", tensor_node())]))
    node.state.pairs[2] = ("_modules", Dict([("me", node)]))
    return node


SCRIPT = Call(Global("a", "Script"), ())
BAD_MODULES: list[tuple[str, Node, type[SurgeryError], str]] = [
    ("holds itself", _itself(), LimitError, "holds itself"),
    ("nests without end", _endless(1000), LimitError, "nests too deep"),
    ("names one module very often", _doubled(25), LimitError, "deep|more than"),
    ("has a submodule of its own form", _module_node(modules=Dict([("x", SCRIPT)])), UnsafeError, "submodule 'x' is a a.Script"),
    ("has a submodule which is a number", _module_node(modules=Dict([("x", 3)])), UnsafeError, "submodule 'x'"),
    ("names a parameter twice", _module_node(Dict([("w", tensor_node()), ("w", tensor_node())])), CorruptError, "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "error", "text"), [case[1:] for case in BAD_MODULES], ids=[case[0] for case in BAD_MODULES])
def test_a_bad_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Node, error: type[SurgeryError], text: str) -> None:
    monkeypatch.setattr("ckpt_surgeon.formats.torch_table._MAX_ENTRIES", 10_000)
    with pytest.raises(error, match=text):
        opened(checkpoint(tmp_path, node, {"0": bytes(24)}))


VALUES: dict[str, Any] = {
    "none": None,
    "number": 3,
    "float": 0.5,
    "text": "words",
    "bytes": b"abc\xff",
    "a bytearray": bytearray(b"abc\xff"),
    "an empty bytearray": bytearray(),
    "no bytes": b"",
    "list": [1, "a", [2.5, None]],
    "tuple": (1, (2, 3)),
    "dict": {"a": {"b": [1]}, 2: "x", (1, 2): "pair", None: 0},
    "ordered": collections.OrderedDict(a=1, b=collections.OrderedDict()),
    "sets": [{1, 2}, frozenset({"a"}), set(), frozenset()],
    "size": torch.Size([1, 2]),
}


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("name", VALUES)
def test_a_plain_opaque_value_is_given_back(tmp_path: Path, name: str, protocol: int) -> None:
    path = tmp_path / "source.pt"
    torch.save({"a": torch.ones(1), "b": torch.ones(1), "_extra_state": VALUES[name]}, path, pickle_protocol=protocol)
    with opened(path) as reader:
        found = reader.read_opaque("_extra_state")
        assert found == VALUES[name]
        assert isinstance(found, tuple if name == "size" else type(VALUES[name]))


def test_tensors_inside_of_an_opaque_value_are_read(tmp_path: Path) -> None:
    value = {"scale": torch.arange(3.0), "more": [torch.ones(2, 2).t()]}
    with opened(saved(tmp_path, {"a": torch.ones(1), "_extra_state": value})) as reader:
        found = reader.read_opaque("_extra_state")
    assert_same(found["scale"], value["scale"])
    assert_same(found["more"][0], value["more"][0])


def test_an_extra_state_which_is_a_tensor_is_one(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"a._extra_state": torch.ones(3)})) as reader:
        assert list(reader.header.tensors) == ["a._extra_state"]


UNSAFE: dict[str, tuple[Any, str]] = {
    "an object": (argparse.Namespace(a=1), "argparse.Namespace"),
    "a class": (argparse.Namespace, "argparse.Namespace"),
    "a numpy scalar": (np.float64(1.5), "scalar"),
    "a numpy array": (np.arange(3), "_reconstruct"),
    "a dtype": (torch.float32, "torch.float32"),
    "a key of keys": ({((1, 2), 3): 1}, "a key of the type tuple"),
    "inside a list": ([1, [argparse.Namespace()]], "argparse.Namespace"),
    "a key": ({argparse.Namespace: 1}, "argparse.Namespace"),
    "a sparse tensor inside": ([torch.eye(2).to_sparse()], "sparse_coo"),
    "a set with an object": ({argparse.Namespace}, "argparse.Namespace"),
    "a storage": (torch.ones(1).untyped_storage(), "storage"),
}


def test_a_bytearray_of_numbers_is_never_made(tmp_path: Path) -> None:
    huge = Call(Global("builtins", "bytearray"), (2**40,))
    path = checkpoint(tmp_path, table_node(a=tensor_node(), b=tensor_node(), odd=huge), {"0": SIX})
    with opened(path) as reader, pytest.raises(UnsafeError, match="no bytes"):
        reader.read_opaque("odd")


@pytest.mark.parametrize("name", UNSAFE)
def test_what_only_its_class_could_rebuild_is_refused_by_name(tmp_path: Path, name: str) -> None:
    value, text = UNSAFE[name]
    with opened(saved(tmp_path, {"a": torch.ones(1), "_extra_state": value})) as reader:
        with pytest.raises(UnsafeError, match=text) as caught:
            reader.read_opaque("_extra_state")
        assert caught.value.problems[0].where.endswith("source.pt: _extra_state")


COLLIDING = range(0, 200 * sys.hash_info.modulus, sys.hash_info.modulus)
CHOSEN: dict[str, Any] = {
    "keys": dict.fromkeys(COLLIDING),
    "keys of an ordered one": collections.OrderedDict.fromkeys(COLLIDING),
    "members": set(COLLIDING),
    "tuples": {(number, 1): 0 for number in COLLIDING},
}


@pytest.mark.parametrize("name", CHOSEN)
def test_keys_which_were_chosen_to_take_long_are_over_the_limit(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, {"a": torch.ones(1), "_extra_state": [CHOSEN[name]]})
    with opened(path) as reader, pytest.raises(LimitError, match="one hash"):
        reader.read_opaque("_extra_state")


def test_an_opaque_value_which_holds_itself_is_over_the_limit(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with opened(saved(tmp_path, {"a": torch.ones(1), "_extra_state": loop})) as reader, pytest.raises(LimitError, match="holds itself"):
        reader.read_opaque("_extra_state")


ROOT = write_pickle(table_node(a=tensor_node()))
SIX = bytes(24)
BAD_FILES: list[tuple[str, dict[str, bytes], type[SurgeryError], str]] = [
    ("no data.pkl", {"a/data/0": SIX}, CorruptError, "without data.pkl"),
    ("TorchScript", {"a/data.pkl": ROOT, "a/constants.pkl": b"", "a/data/0": SIX}, CorruptError, "TorchScript"),
    ("an empty pickle", {"a/data.pkl": b"", "a/data/0": SIX}, CorruptError, "no STOP"),
    ("no pickle", {"a/data.pkl": b"hello", "a/data/0": SIX}, CorruptError, "pickle"),
    ("a pickle which goes on", {"a/data.pkl": ROOT + b"N.", "a/data/0": SIX}, CorruptError, "goes on for 2 bytes"),
    ("no storage", {"a/data.pkl": ROOT}, CorruptError, "storage '0' is not in the file"),
    ("a storage under another name", {"a/data.pkl": ROOT, "a/data/00": SIX}, CorruptError, "storage '0' is not in the file"),
    ("a cut storage", {"a/data.pkl": ROOT, "a/data/0": SIX[:-4]}, CorruptError, "has 20 bytes, and the pickle claims 24"),
    ("an unknown byte order", {"a/data.pkl": ROOT, "a/data/0": SIX, "a/byteorder": b"middle"}, CorruptError, "byte order"),
    ("an extension", {"a/data.pkl": b"\x82\x01."}, UnsafeError, "extension"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "error", "text"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_bad_file_is_refused_with_its_path(
    tmp_path: Path, records: dict[str, bytes], error: type[SurgeryError], text: str, method: int
) -> None:
    path = packed(tmp_path, records, method)
    file = InputFile(str(path))
    with pytest.raises(error, match=text) as caught:
        TorchReader(file)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file.descriptor)


def test_a_damaged_pickle_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.ones(3)})
    data = bytearray(path.read_bytes())
    data[data.index(b"FloatStorage")] = ord("G")
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="checksum"):
        opened(path)


@pytest.mark.parametrize("key", ["whole", "part"])
def test_a_damaged_storage_is_told_when_it_is_read(tmp_path: Path, key: str) -> None:
    base = torch.arange(6.0) + 0.123
    path = saved(tmp_path, {"whole": base, "part": base[:2], "sound": torch.ones(3)})
    path.write_bytes(path.read_bytes().replace(raw_bytes(base), raw_bytes(base[:5]) + bytes(4)))
    with opened(path) as reader:
        assert_same(reader.read("sound"), torch.ones(3))
        with pytest.raises(CorruptError, match="damaged") as caught:
            reader.read(key)
        assert caught.value.problems[0].where == f"{path}: {key}"


def test_a_pickle_over_the_limit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_surgeon.formats.torch_archive.MAX_PICKLE_BYTES", 10)
    with pytest.raises(LimitError, match="10 are allowed"):
        opened(saved(tmp_path, {"a": torch.ones(3)}))


def test_a_compressed_file_is_read_but_spans_nothing(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    records = {"a/data.pkl": ROOT, "a/data/0": raw_bytes(tensor)}
    with opened(packed(tmp_path, records, zipfile.ZIP_DEFLATED)) as reader:
        assert reader.span("a") is None
        assert_same(reader.read("a"), tensor)


def test_closing_twice_closes_once(tmp_path: Path) -> None:
    reader = opened(saved(tmp_path, {"a": torch.ones(3)}))
    reader.close()
    reader.close()
    with pytest.raises(SurgeryError):
        reader.read("a")


def test_an_interruption_closes_the_file(tmp_path: Path) -> None:
    def interrupted(_file: InputFile) -> Any:
        raise KeyboardInterrupt

    file = InputFile(str(saved(tmp_path, {"a": torch.ones(3)})))
    with pytest.raises(KeyboardInterrupt):
        TorchCheckpoint(file, interrupted, "torch", None)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file.descriptor)


def test_a_key_which_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"a": torch.ones(3)})) as reader:
        for ask in (reader.read, reader.span, reader.read_opaque):
            with pytest.raises(KeyError):
                ask("b")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_of_torch_is_read(tmp_path: Path, protocol: int) -> None:
    net = torch.nn.Linear(2, 3)
    path = tmp_path / "p.pt"
    torch.save({"state_dict": net.state_dict(), "names": {"a", "b"}, "raw": b"x"}, path, pickle_protocol=protocol)
    with opened(path) as reader:
        assert list(reader.header) == ["weight", "bias"]
        assert dict(reader.header.torch_metadata) == {"": {"version": 1}}
        assert_same(reader.read("weight"), net.weight)


class _Canary:
    """Pickles as a call which makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["beside", "in the table", "in a key", "as a tensor's hooks", "in the metadata"])
def test_a_file_which_would_run_code_is_only_described(tmp_path: Path, place: str) -> None:
    canary = _Canary(tmp_path / "canary")
    tensor, state = torch.ones(3), collections.OrderedDict(a=torch.ones(3), b=torch.ones(2))
    state._metadata = {"x": canary} if place == "in the metadata" else {}
    if place == "in the table":
        state["odd"] = canary
    value: dict[Any, Any] = {"state_dict": state, "beside": canary, "tensor": tensor}
    if place == "in a key":
        value[(canary,)] = 1
    path = saved(tmp_path, value)
    if place == "as a tensor's hooks":
        arguments = (storage_node(), 0, (2, 3), (3, 1), False, Call(Global("posix", "mkdir"), (str(tmp_path / "canary"),)))
        path = checkpoint(tmp_path, table_node(a=Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)), {"0": SIX})
    before = set(sys.modules)
    with opened(path) as reader:
        assert reader.read("a").numel() in (3, 6)
        for key in reader.header.opaque:
            with pytest.raises(UnsafeError, match="mkdir"):
                reader.read_opaque(key)
    assert set(sys.modules) == before
    assert not (tmp_path / "canary").exists()


ALONE = """
import sys
from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.formats.torch_reader import TorchReader
from ckpt_surgeon.formats.torch_writer import TorchWriter
from ckpt_surgeon.formats.protocol import Keep
with TorchReader(InputFile(sys.argv[1])) as reader:
    header = reader.header
    keys = [key for key in header.tensors if key not in header.aliases]
    writer = TorchWriter(sys.argv[2], header, Keep(reader, moved={key: key for key in keys}))
    for key in keys:
        writer.write(key, [reader.span(key)])
    writer.close()
heavy = {"torch", "numpy", "yaml", "zipfile", "pickle", "net_which_is_gone"} & set(sys.modules)
assert not heavy, heavy
print(len(header), header.envelope.path)
"""


def test_headers_spans_and_moved_bytes_need_no_torch_and_no_pickle(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    path = saved(tmp_path, {"state_dict": net.state_dict(), "args": argparse.Namespace(a=1), "best": np.float64(1)})
    done = subprocess.run([sys.executable, "-c", ALONE, str(path), str(tmp_path / "out.pt")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "7 state_dict\n")
    found = torch.load(tmp_path / "out.pt", weights_only=False)
    assert found["args"] == argparse.Namespace(a=1)
    for key, tensor in net.state_dict().items():
        assert_same(found["state_dict"][key], tensor)
