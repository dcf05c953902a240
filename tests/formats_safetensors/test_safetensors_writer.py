"""What is written is what the reference library reads; the same input gives the same bytes; refusals come before any file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import DiskError, LimitError, SurgeryError
from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader
from ckpt_surgeon.formats.safetensors_table import TAGS
from ckpt_surgeon.formats.safetensors_writer import SafetensorsWriter
from ckpt_surgeon.spec import DTYPES, Header, Opaque, TensorSpec

SMALL = Header({"b": TensorSpec.of("float32", 2), "a": TensorSpec.of("int16", 3)})


def json_of(path):
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def test_the_order_is_the_headers(written, read):
    path = written(SMALL)
    assert list(read(path).header) == ["b", "a"]
    assert [json_of(path)[key]["data_offsets"] for key in "ba"] == [[0, 8], [8, 14]]


def test_the_size_is_known_before_the_first_byte(tmp_path):
    writer = SafetensorsWriter(str(tmp_path / "x"), SMALL)
    nbytes = writer.nbytes
    writer.write("b", [bytes(8)])
    writer.write("a", [bytes(6)])
    writer.close()
    assert os.path.getsize(tmp_path / "x") == nbytes


def test_tensors_start_at_a_multiple_of_eight_bytes(written, read):
    for width in range(1, 20):
        reader = read(written(Header({"w" * width: TensorSpec.of("uint8", 1)}), f"{width}.safetensors"))
        assert reader.span("w" * width).offset % 8 == 0


def test_the_same_header_and_tensors_give_the_same_bytes(written):
    first = Header(SMALL.entries, metadata={"x": "1", "a": "2"})
    second = Header(SMALL.entries, metadata={"a": "2", "x": "1"})
    paths = [written(first, "one"), written(second, "two")]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()


@pytest.mark.parametrize(
    ("given_metadata", "expected"), [({}, {"format": "pt"}), ({"format": "mlx", "k": "v"}, {"format": "mlx", "k": "v"})]
)
def test_metadata_says_pt_unless_the_source_says_otherwise(written, given_metadata, expected):
    with safe_open(written(Header(SMALL.entries, metadata=given_metadata)), "pt") as reference:
        assert reference.metadata() == expected


def test_versions_of_modules_and_ties_come_back_in_the_original_order(written, read):
    spec = TensorSpec.of("float32", 2)
    header = Header(
        {"head": spec, "z": spec, "embedding": spec, "a": spec},
        aliases={"embedding": "head"},
        torch_metadata={"": {"version": 1}, "bn": {"version": 2, "note": "ü"}},
        metadata={"format": "pt", "user": "text"},
    )
    found = read(written(header)).header
    assert list(found) == ["head", "z", "embedding", "a"]
    assert (found.entries, found.aliases, found.torch_metadata, found.metadata) == (
        header.entries,
        header.aliases,
        header.torch_metadata,
        header.metadata,
    )
    assert found.nbytes == 3 * 8


def test_a_tied_tensor_is_written_once_and_other_readers_see_the_first_name(written):
    spec = TensorSpec.of("float32", 2)
    path = written(Header({"a": spec, "b": spec}, aliases={"b": "a"}))
    assert list(load_file(path)) == ["a"]


def test_without_ties_nothing_is_said_about_them(written):
    assert json_of(written(SMALL))["__metadata__"] == {"format": "pt"}


def test_parts_are_joined(tmp_path, ten_bytes):
    header = Header({"w": TensorSpec.of("uint8", 9)})
    writer = SafetensorsWriter(str(tmp_path / "x"), header)
    with InputFile(ten_bytes) as file:
        whole = FileRange(file, 0, 10)
        parts = [whole.part(7, 3), b"ab", bytearray(b"c"), memoryview(torch.ones(1, dtype=torch.uint8).numpy()), b"", whole.part(0, 2)]
        writer.write("w", parts)
        writer.close()
    assert (tmp_path / "x").read_bytes().endswith(b"789abc\x0101")


@pytest.fixture
def ten_bytes(tmp_path):
    (tmp_path / "ten").write_bytes(b"0123456789")
    return str(tmp_path / "ten")


def test_a_view_of_wide_elements_counts_its_bytes(tmp_path):
    writer = SafetensorsWriter(str(tmp_path / "x"), Header({"w": TensorSpec.of("float64", 2)}))
    writer.write("w", [memoryview(torch.ones(2, dtype=torch.float64).numpy())])
    writer.close()
    assert load_file(tmp_path / "x")["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ([], ("a", 6), "'a' was written where 'b' is due"),
        ([("b", 8)], ("b", 8), "'b' was written where 'a' is due"),
        ([("b", 8), ("a", 6)], ("a", 6), "where None is due"),
        ([], ("c", 8), "'c' was written"),
        ([], ("b", 7), "7 bytes; f32"),
        ([], ("b", 9), "9 bytes; f32"),
        ([], ("b", 0), "0 bytes; f32"),
    ],
)
def test_what_does_not_fit_the_header_is_a_value_error(tmp_path, good, bad, message):
    writer = SafetensorsWriter(str(tmp_path / "x"), SMALL)
    for key, nbytes in good:
        writer.write(key, [bytes(nbytes)])
    with pytest.raises(ValueError, match=message):
        writer.write(bad[0], [bytes(bad[1])])
    writer.abort()


def test_closing_with_a_tensor_due_is_a_value_error(tmp_path):
    writer = SafetensorsWriter(str(tmp_path / "x"), SMALL)
    writer.write("b", [bytes(8)])
    with pytest.raises(ValueError, match="'a' was never written"):
        writer.close()
    writer.abort()
    writer.abort()


def test_an_existing_file_is_never_overwritten(tmp_path):
    (tmp_path / "x").write_text("precious")
    with pytest.raises(DiskError, match="exists"):
        SafetensorsWriter(str(tmp_path / "x"), SMALL)
    assert (tmp_path / "x").read_text() == "precious"


def test_all_entries_which_safetensors_cannot_hold_are_named_at_once_and_nothing_is_made(tmp_path):
    header = Header(
        {
            "fine": TensorSpec.of("float32", 2),
            "extra": Opaque("a dict"),
            "wide": TensorSpec.of("complex128", 2),
            "narrow": TensorSpec.of("int4", 2),
            "__metadata__": TensorSpec.of("float32", 2),
            "half\ud800": TensorSpec.of("float32", 2),
            "scalar": TensorSpec.of("float4_e2m1fn_x2"),
        }
    )
    with pytest.raises(SurgeryError) as caught:
        SafetensorsWriter(str(tmp_path / "x"), header)
    assert [problem.where for problem in caught.value.problems] == ["extra", "wide", "narrow", "__metadata__", "half\ud800", "scalar"]
    assert ".pt" in caught.value.hint
    assert caught.value.exit_code == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {dtype.name for dtype in TAGS.values()}))
def test_a_dtype_which_safetensors_lacks_is_refused_by_name(tmp_path, dtype):
    with pytest.raises(SurgeryError, match=f"w: safetensors has no dtype {dtype}"):
        SafetensorsWriter(str(tmp_path / "x"), Header({"w": TensorSpec.of(dtype, 2)}))


def test_module_metadata_which_is_no_text_is_refused_by_its_module(tmp_path):
    header = Header(SMALL.entries, torch_metadata={"": {"version": 1}, "bn": {"thing": object()}, "ln": {"x": float("nan")}})
    with pytest.raises(SurgeryError) as caught:
        SafetensorsWriter(str(tmp_path / "x"), header)
    assert [problem.where for problem in caught.value.problems] == ["bn", "ln"]
    assert os.listdir(tmp_path) == []


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda key: key != "__metadata__")
SPECS = st.builds(
    lambda dtype, shape: TensorSpec(tuple(shape), dtype),
    st.sampled_from([dtype for dtype in TAGS.values() if dtype.name != "float4_e2m1fn_x2"]),
    st.lists(st.integers(0, 3), max_size=3),
)


@settings(max_examples=60)
@given(entries=st.dictionaries(KEYS, SPECS, max_size=6), texts=st.dictionaries(KEYS, KEYS, max_size=3), data=st.data())
def test_what_is_written_is_read_back_here_and_by_the_reference_library(tmp_path_factory, entries, texts, data):
    path = str(tmp_path_factory.mktemp("trip") / "x")
    blobs = {
        key: bytes(data.draw(st.lists(st.integers(0, 1), min_size=spec.nbytes, max_size=spec.nbytes))) for key, spec in entries.items()
    }
    writer = SafetensorsWriter(path, Header(entries, metadata=texts))
    for key in entries:
        writer.write(key, [blobs[key]])
    writer.close()
    with SafetensorsReader(InputFile(path)) as reader, safe_open(path, "pt") as reference:
        assert list(reader.header.entries.items()) == list(entries.items())
        assert reader.header.metadata == reference.metadata() == {"format": "pt", **texts}
        assert set(reference.keys()) == set(entries)
        for key, spec in entries.items():
            span, found = reader.span(key), reader.read(key)
            assert span.read(0, span.nbytes) == blobs[key]
            assert bytes(found.reshape(-1).view(torch.uint8).tolist()) == blobs[key]
            assert (tuple(found.shape), str(found.dtype)) == (spec.shape, f"torch.{spec.dtype.name}")
            other = reference.get_tensor(key)
            assert (other.dtype, other.shape) == (found.dtype, found.shape)
            assert bytes(other.reshape(-1).view(torch.uint8).tolist()) == blobs[key]


@given(
    entries=st.lists(KEYS, min_size=2, max_size=6, unique=True),
    picks=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=4),
)
def test_ties_come_back_whatever_their_order(tmp_path_factory, entries, picks):
    spec = TensorSpec.of("uint8", 2)
    aliases: dict[str, str] = {}
    for i, j in picks:
        alias, key = entries[i % len(entries)], entries[j % len(entries)]
        if alias != key and alias not in aliases and key not in aliases and alias not in aliases.values():
            aliases[alias] = key
    header = Header(dict.fromkeys(entries, spec), aliases=aliases)
    path = str(tmp_path_factory.mktemp("ties") / "x")
    writer = SafetensorsWriter(path, header)
    for key in entries:
        if key not in aliases:
            writer.write(key, [b"ab"])
    writer.close()
    with SafetensorsReader(InputFile(path)) as reader:
        assert list(reader.header) == entries
        assert reader.header.aliases == aliases


def test_writing_needs_neither_torch_nor_the_safetensors_library():
    script = (
        "import sys, tempfile, os; from ckpt_surgeon.formats.creating import create_writer;"
        "from ckpt_surgeon.formats.protocol import Keep; from ckpt_surgeon.spec import Header, TensorSpec;"
        "path = os.path.join(tempfile.mkdtemp(), 'x');"
        "writer = create_writer(path, 'safetensors', Header({'w': TensorSpec.of('uint8', 2)}), Keep(), None);"
        "writer.write('w', [b'ab']); writer.close();"
        "print([name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_header_longer_than_any_reader_takes_is_refused_before_the_file_is_made(tmp_path):
    with pytest.raises(LimitError, match="more than safetensors reads"):
        SafetensorsWriter(str(tmp_path / "x"), Header(SMALL.entries, metadata={"long": "x" * 100_000_001}))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dtype", sorted(dtype.name for dtype in TAGS.values()))
def test_every_dtype_comes_back_through_the_reference_library(tmp_path, dtype):
    spec = TensorSpec.of(dtype, 3, 2)
    blob = bytes(i % 2 for i in range(spec.nbytes))
    writer = SafetensorsWriter(str(tmp_path / "x"), Header({"odd": TensorSpec.of("uint8", 1), "w": spec}))
    writer.write("odd", [b"\1"])
    writer.write("w", [blob])
    writer.close()
    with safe_open(tmp_path / "x", "pt") as reference:
        found = reference.get_tensor("w")
    assert (found.dtype, tuple(found.shape)) == (getattr(torch, dtype), (3, 2))
    assert bytes(found.reshape(-1).view(torch.uint8).tolist()) == blob
