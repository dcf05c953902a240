"""What a file is, by its content alone; and what is said of one which is no checkpoint."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile

import numpy
import pytest
import torch
from safetensors.torch import save

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.registry import FORMATS, sniff

MAGIC = 0x1950A86A20F9469CFC6C


def torch_file(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer, **options)
    return buffer.getvalue()


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "npz":
        numpy.savez(buffer, w=numpy.ones(2))
    elif kind == "npy":
        numpy.save(buffer, numpy.ones(2))
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


READ = {
    "safetensors": ("safetensors", save({"w": torch.ones(2)})),
    "safetensors without tensors": ("safetensors", (2).to_bytes(8, "little") + b"{}"),
    "safetensors, cut in its header": ("safetensors", save({"w": torch.ones(2)})[:20]),
    "safetensors which claims too long a header": ("safetensors", b"\xff" * 8 + b'{"w":1}'),
    "a zip of torch": ("torch", torch_file()),
    "a zip of torch, cut": ("torch", torch_file()[:100]),
    "an empty zip": ("torch", b"PK\x05\x06" + bytes(18)),
    "the older stream of torch": ("torch-legacy", torch_file(_use_new_zipfile_serialization=False)),
    **{f"the older stream, protocol {n}": ("torch-legacy", pickle.dumps(MAGIC, n) + b"rest") for n in (2, 3, 4, 5)},
    "an index": ("sharded", b'{"weight_map": {}}'),
    "an index, indented": ("sharded", b'\n {\n  "metadata": {"total_size": 1}'),
    "an index whose ninth byte is a brace": ("sharded", b'{"meta":{"total_size":1},"weight_map":{}}'),
}

HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
OTHER = {
    "nothing": (b"", "the file is empty", "download"),
    "one byte": (b"\x01", "only 1 bytes", "download"),
    "zeros": (bytes(5000), "nothing but zeros", "download"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "git-lfs pointer", "git lfs pull"),
    "a web page": (HTML, "an HTML page", "login"),
    "a web page, indented, in capitals": (b"\xef\xbb\xbf\n  <HTML>", "an HTML page", "login"),
    "an XML error of a bucket": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "an HTML page", "login"),
    "numpy arrays": (archive("npz"), "numpy archive", "torch.save"),
    "a numpy array": (archive("npy"), "numpy array", "torch.save"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5", "torch.save"),
    "GGUF": (b"GGUF\x03\0\0\0" + b"{" + bytes(50), "GGUF", "converted"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x051.0.0", "ONNX", "exported"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(50), "TensorFlow Lite", "torch.save"),
    "a tar archive": (archive("tar"), "a tar archive", "unpack"),
    "gzip": (gzip.compress(b"abc"), "gzip", "unpack"),
    "bzip2": (bz2.compress(b"abc"), "bzip2", "unpack"),
    "xz": (lzma.compress(b"abc"), "xz", "unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd", "unpack"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z or rar", "unpack"),
    "text": (b"hello, I am not a checkpoint", "no known format; it begins with 68 65 6c 6c", "safetensors"),
    **{f"a pickle, protocol {n}": (pickle.dumps({"w": [1, 2]}, n), "bare pickle", "torch.save") for n in (2, 3, 4, 5)},
    "the magic number in the wrong place": (pickle.dumps([MAGIC], 2), "bare pickle", "torch.save"),
}


@pytest.fixture
def file(tmp_path):
    opened = []

    def make(data: bytes) -> InputFile:
        path = tmp_path / "model.pt.safetensors.txt"
        path.write_bytes(data)
        opened.append(InputFile(str(path)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("case", READ)
def test_a_format_is_known_by_its_content_whatever_the_suffix(file, case):
    name, data = READ[case]
    assert sniff(file(data)) == name


@pytest.mark.parametrize("case", READ)
def test_a_file_is_of_one_format_only(case):
    name, data = READ[case]
    assert [each for each, form in FORMATS.items() if form.matches(data[:512])] == [name]


@pytest.mark.parametrize("case", OTHER)
def test_what_is_no_checkpoint_is_named_as_what_it_is_with_what_to_do(file, case):
    data, what, hint = OTHER[case]
    with pytest.raises(CorruptError) as caught:
        sniff(file(data))
    (problem,) = caught.value.problems
    assert what in problem.what
    assert hint in problem.hint
    assert problem.where.endswith("model.pt.safetensors.txt")


def test_a_zip_which_only_mentions_npy_is_left_to_torch(file):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive_file:
        archive_file.writestr("x/data.pkl", b"x.npy")
    assert sniff(file(buffer.getvalue())) == "torch"


def test_json_of_any_kind_is_left_to_the_index_reader(file):
    assert sniff(file(json.dumps({"hidden_size": 12}).encode())) == "sharded"
