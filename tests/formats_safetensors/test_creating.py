"""The format of an output by its name, and its writer."""

import os

import pytest

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.formats.creating import create_writer, format_of
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.spec import Header, TensorSpec

HEADER = Header({"a": TensorSpec.of("uint8", 4), "b": TensorSpec.of("uint8", 4)})


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("x.safetensors", "safetensors"),
        ("folder.pt/x.safetensors", "safetensors"),
        ("x.SafeTensors", "safetensors"),
        ("x.pt", "torch"),
        ("x.pth", "torch"),
        ("x.bin", "torch"),
        ("x.ckpt", "torch"),
        ("a.b.pt", "torch"),
        ("x", "sharded"),
        ("x/", "sharded"),
        ("x.pt/", "sharded"),
        ("some/x", "sharded"),
        (".hidden", "sharded"),
    ],
)
def test_the_suffix_tells_the_format(out, expected):
    assert format_of(out, None) == expected


@pytest.mark.parametrize("name", ["model", "model.v2", ".pt"])
def test_an_existing_folder_is_a_folder_of_shards(tmp_path, name):
    (tmp_path / name).mkdir()
    assert format_of(str(tmp_path / name), None) == "sharded"


def test_an_existing_folder_with_the_suffix_of_a_file_is_doubtful(tmp_path):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(SurgeryError, match="a folder stands here") as caught:
        format_of(str(tmp_path / "model.pt"), None)
    assert "--to sharded" in caught.value.hint
    assert format_of(str(tmp_path / "model.pt"), "sharded") == "sharded"


@pytest.mark.parametrize("to", ["safetensors", "torch", "sharded"])
def test_what_is_said_aloud_wins(to):
    assert format_of("x.pt", to) == to
    assert format_of("x.unknown", to) == to


@pytest.mark.parametrize("out", ["x.h5", "model.pt.gz", "x.pth.tar", "x.json", "x."])
def test_an_unknown_suffix_is_refused_with_the_known_ones(out):
    with pytest.raises(SurgeryError, match=r"known are \.safetensors, \.pt, \.pth, \.bin, \.ckpt, and a folder") as caught:
        format_of(out, None)
    assert "--to" in caught.value.hint


@pytest.mark.parametrize("to", ["onnx", "", "torch-legacy", "Safetensors"])
def test_an_unknown_format_is_refused_with_the_known_ones(to, tmp_path):
    with pytest.raises(SurgeryError, match="known are safetensors, torch, sharded"):
        format_of("x.pt", to)
    with pytest.raises(SurgeryError, match="known are safetensors, torch, sharded"):
        create_writer(str(tmp_path / "x"), to, HEADER, Keep(), None)


@pytest.mark.parametrize(
    ("form", "limit", "files"), [("safetensors", None, None), ("torch", None, None), ("sharded", None, 2), ("sharded", 4, 3)]
)
def test_a_writer_writes_what_is_read_back(tmp_path, form, limit, files):
    path = str(tmp_path / "out")
    writer = create_writer(path, form, HEADER, Keep(), limit)
    writer.write("a", [b"aaaa"])
    writer.write("b", [b"bbbb"])
    writer.close()
    with open_checkpoint(path) as reader:
        assert reader.header.entries == HEADER.entries
        assert bytes(reader.read("b").tolist()) == b"bbbb"
    assert files is None or len(os.listdir(path)) == files
