"""What the reference library writes, read; and every way in which a file can lie, refused."""

import json
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader
from ckpt_surgeon.formats.safetensors_table import TAGS
from ckpt_surgeon.spec import DTYPES, TensorSpec

HALVES = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


def tensor(**changes):
    return {"w": {**HALVES, **changes}}


@pytest.mark.parametrize("dtype", sorted(dtype.name for dtype in TAGS.values()))
def test_every_dtype_of_the_reference_library_is_read_as_it_reads_it(tmp_path, read, dtype):
    form = getattr(torch, dtype)
    raw_bytes = torch.arange(2 * 4 * DTYPES[dtype].itemsize, dtype=torch.uint8) % (2 if dtype == "bool" else 100)
    path = tmp_path / "x.safetensors"
    save_file({"w": raw_bytes.view(form).reshape(2, 4)}, path)
    reader = read(path)
    found = reader.read("w")
    assert reader.header.tensors == {"w": TensorSpec.of(dtype, 2, 4)}
    assert found.dtype == form
    with safe_open(path, "pt") as reference:
        assert torch.equal(found.view(torch.uint8), reference.get_tensor("w").view(torch.uint8))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)])
def test_empty_and_zero_dim_tensors_keep_their_shape(tmp_path, read, shape):
    value = torch.randn(shape)
    save_file({"w": value, "after": torch.ones(3)}, tmp_path / "x")
    reader = read(tmp_path / "x")
    assert reader.header.tensors["w"].shape == shape
    assert torch.equal(reader.read("w"), value)
    assert torch.equal(reader.read("after"), torch.ones(3))


def test_a_tensor_read_twice_has_its_own_memory_each_time(tmp_path, read):
    save_file({"w": torch.ones(3)}, tmp_path / "x")
    reader = read(tmp_path / "x")
    reader.read("w").zero_()
    assert reader.read("w").tolist() == [1, 1, 1]


def test_a_span_is_where_the_bytes_lie(tmp_path, read):
    save_file({"a": torch.zeros(3), "b": torch.arange(4, dtype=torch.int16)}, tmp_path / "x")
    span = read(tmp_path / "x").span("b")
    assert span.read(0, span.nbytes) == b"\0\0\1\0\2\0\3\0"


def test_the_order_is_that_of_the_bytes_not_of_the_header(raw, read):
    header = {
        "late": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]},
        "empty": {"dtype": "U8", "shape": [0], "data_offsets": [2, 2]},
        "void": {"dtype": "F32", "shape": [3, 0], "data_offsets": [2, 2]},
        "early": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
    }
    assert list(read(raw(header, b"abcd")).header) == ["early", "empty", "void", "late"]


def test_metadata_is_the_files_own_text(tmp_path, read):
    save_file({"w": torch.ones(1)}, tmp_path / "x", metadata={"format": "pt", "author": "Ünïcode"})
    header = read(tmp_path / "x").header
    assert header.metadata == {"format": "pt", "author": "Ünïcode"}
    assert (header.format, header.aliases, header.opaque, header.torch_metadata) == ("safetensors", {}, {}, {})


def test_a_file_without_tensors_is_a_checkpoint_without_tensors(raw, read):
    assert len(read(raw({})).header) == 0
    assert len(read(raw(b"{}      ")).header) == 0


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [("F6_E2M3", [4], 3), ("F6_E3M2", [2, 8], 12), ("F6_E2M3", [0], 0), ("F4", [2, 3], 3), ("F4", [0, 3], 0)],
)
def test_a_dtype_which_torch_lacks_is_listed_and_read_by_nobody(raw, read, dtype, shape, nbytes):
    odd = {"dtype": dtype, "shape": shape, "data_offsets": [0, nbytes]}
    reader = read(raw({"odd": odd, "w": {**HALVES, "data_offsets": [nbytes, nbytes + 4]}}, bytes(nbytes) + b"abcd"))
    assert list(reader.header) == ["odd", "w"]
    assert str(reader.header.opaque["odd"]) == f"{dtype}{shape}, of which torch has no like"
    assert reader.span("w").read(0, 4) == b"abcd"
    with pytest.raises(UnsafeError, match=rf"raw.safetensors: odd: {dtype}"):
        reader.read_opaque("odd")
    for method in (reader.read, reader.span):
        with pytest.raises(KeyError):
            method("odd")


def test_unknown_keys_are_key_errors(raw, read):
    reader = read(raw(tensor(), b"abcd"))
    for method in (reader.read, reader.span, reader.read_opaque):
        with pytest.raises(KeyError):
            method("other")
    with pytest.raises(KeyError):
        reader.read_opaque("w")


BAD_ENTRIES = {
    "a hole before the tensor": (tensor(data_offsets=[2, 6]), b"abcdef"),
    "bytes after the last tensor": (tensor(), b"abcde"),
    "an offset beyond the file": (tensor(), b"abc"),
    "an end before its begin": (tensor(data_offsets=[4, 0]), b"abcd"),
    "a negative begin": (tensor(data_offsets=[-4, 0]), b""),
    "three offsets": (tensor(data_offsets=[0, 4, 8]), b"abcd"),
    "one offset": (tensor(data_offsets=[4]), b"abcd"),
    "offsets which are fractions": (tensor(data_offsets=[0.0, 4.0]), b"abcd"),
    "offsets which are truth values": (tensor(data_offsets=[False, 4]), b"abcd"),
    "an offset over 2**63": (tensor(data_offsets=[0, 2**63]), b"abcd"),
    "a size below zero": (tensor(shape=[-2]), b"abcd"),
    "two sizes below zero whose product fits": (tensor(shape=[-1, -2]), b"abcd"),
    "a size which is a fraction": (tensor(shape=[2.0]), b"abcd"),
    "a size which is a truth value": (tensor(shape=[2, True]), b"abcd"),
    "a size which is text": (tensor(shape=["2"]), b"abcd"),
    "a shape which is a number": (tensor(shape=2), b"abcd"),
    "a shape which is null": (tensor(shape=None), b"abcd"),
    "a shape larger than its bytes": (tensor(shape=[3]), b"abcd"),
    "a shape smaller than its bytes": (tensor(shape=[1]), b"abcd"),
    "sizes whose product overflows 64 bits to the right number": (tensor(shape=[2**32 + 1, 2**32 - 1, 2]), b"abcd"),
    "a size over 2**63": (tensor(shape=[2**64 + 2]), b"abcd"),
    "a thousand dims": (tensor(shape=[1] * 999 + [2]), b"abcd"),
    "an unknown dtype": (tensor(dtype="F128"), b"abcd"),
    "a size of minus zero": (b'{"w": {"dtype": "U8", "shape": [-0], "data_offsets": [0, 0]}}', b""),
    "an offset of minus zero": (b'{"w": {"dtype": "U8", "shape": [0], "data_offsets": [-0, 0]}}', b""),
    "sizes before a zero whose product overflows": (tensor(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), b""),
    "sizes after a zero which torch cannot hold": (tensor(shape=[0, 2**40, 2**40], data_offsets=[0, 0]), b""),
    "six-bit values which end within a byte": (tensor(dtype="F6_E2M3", shape=[3], data_offsets=[0, 3]), b"abc"),
    "six-bit values larger than their bytes": (tensor(dtype="F6_E3M2", shape=[8], data_offsets=[0, 4]), b"abcd"),
    "truth values of one bit": (tensor(dtype="B1"), b"abcd"),
    "two fields for one": (tensor(data_offsets={"begin": 0, "end": 4}), b"abcd"),
    "a dtype in lower case": (tensor(dtype="f16"), b"abcd"),
    "a dtype which is a number": (tensor(dtype=16), b"abcd"),
    "a dtype which is a list": (tensor(dtype=["F16"]), b"abcd"),
    "four-bit values of an odd number": (tensor(dtype="F4", shape=[7], data_offsets=[0, 4]), b"abcd"),
    "four-bit values of no dims": (tensor(dtype="F4", shape=[], data_offsets=[0, 1]), b"a"),
    "a field which means nothing here": (tensor(stride=[1]), b"abcd"),
    "an entry without its shape": ({"w": {"dtype": "F16", "data_offsets": [0, 4]}}, b"abcd"),
    "an entry which is a list": ({"w": [1]}, b""),
    "an entry which is null": ({"w": None}, b""),
    "an overlap": ({"a": HALVES, "b": {**HALVES, "data_offsets": [2, 6]}}, b"abcdef"),
    "two tensors at one place": ({"a": HALVES, "b": HALVES}, b"abcd"),
    "a hole between two tensors": ({"a": HALVES, "b": {**HALVES, "data_offsets": [6, 10]}}, b"abcdefghij"),
    "an empty tensor in the middle of another": ({"a": HALVES, "b": {"dtype": "F16", "shape": [0], "data_offsets": [2, 2]}}, b"abcd"),
    "an empty tensor after the end": ({"a": HALVES, "b": {"dtype": "F16", "shape": [0], "data_offsets": [6, 6]}}, b"abcd"),
    "metadata which is nested": ({"__metadata__": {"a": {"b": "c"}}}, b""),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b""),
    "metadata which is a list": ({"__metadata__": ["a"]}, b""),
    "metadata which is null": ({"__metadata__": None}, b""),
}

BAD_TEXTS = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"1",
    "leading space": b" {}",
    "half an object": b'{"w": ',
    "two objects": b"{}{}",
    "a key twice": b'{"w": {}, "w": {}}',
    "a field twice": b'{"w": {"dtype": "U8", "dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
    "a metadata key twice": b'{"__metadata__": {"a": "b", "a": "b"}}',
    "metadata twice": b'{"__metadata__": {}, "__metadata__": {}}',
    "NaN": b'{"w": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 0]}}',
    "Infinity": b'{"w": {"dtype": "U8", "shape": [-Infinity], "data_offsets": [0, 0]}}',
    "no UTF-8": b'{"\xff": {}}',
    "half a surrogate pair in a key": b'{"\\ud800": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
    "half a surrogate pair in metadata": b'{"__metadata__": {"a": "\\udfff"}}',
    "a number of ten thousand digits": b'{"w": {"dtype": "U8", "shape": [' + b"9" * 10_000 + b'], "data_offsets": [0, 0]}}',
    "deep lists": b'{"w": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"w": ' * 50_000 + b"1" + b"}" * 50_000,
    "lists of forty levels": b'{"w": ' + b"[" * 40 + b"]" * 40 + b"}",
    "a zero byte": b"{}\0",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a control character in a key": b'{"__metadata__": {"a\x01": "b"}}',
    "a number out of range": b'{"__metadata__": {"a": 1e999}}',
    "a number with a leading zero": b'{"w": {"dtype": "U8", "shape": [00], "data_offsets": [0, 0]}}',
    "a number in hexadecimal": b'{"w": {"dtype": "U8", "shape": [0x0], "data_offsets": [0, 0]}}',
    "UTF-8 in three bytes for two": b'{"\xe0\x80\xaf": {}}',
    "a surrogate pair in UTF-8": b'{"\xed\xa0\x80\xed\xb0\x80": {}}',
    "single quotes": b"{'w': 1}",
}


@pytest.mark.parametrize("lie", BAD_ENTRIES)
def test_an_entry_which_lies_is_refused(raw, read, lie):
    path = raw(*BAD_ENTRIES[lie])
    with pytest.raises(CorruptError) as caught:
        read(path)
    assert path in str(caught.value)


@pytest.mark.parametrize("lie", BAD_TEXTS)
def test_a_header_which_is_no_strict_json_is_refused(raw, read, lie):
    with pytest.raises(CorruptError):
        read(raw(BAD_TEXTS[lie]))


@pytest.mark.parametrize("lie", [*BAD_ENTRIES, *BAD_TEXTS])
def test_a_refusal_is_one_line(raw, read, lie):
    path = raw(*BAD_ENTRIES[lie]) if lie in BAD_ENTRIES else raw(BAD_TEXTS[lie])
    with pytest.raises(CorruptError) as caught:
        read(path)
    (problem,) = caught.value.problems
    assert len(problem.what) < 500
    assert "\n" not in problem.what


def test_the_error_names_the_tensor_what_was_found_and_what_fits(raw, read):
    with pytest.raises(CorruptError, match=r"raw.safetensors: w: f16\[3\] takes 6 bytes, its offsets hold 4"):
        read(raw(tensor(shape=[3]), b"abcd"))
    with pytest.raises(CorruptError, match=r"'F128' is not known; known are F64, "):
        read(raw(tensor(dtype="F128"), b"abcd"))


@pytest.mark.parametrize("size", range(8))
def test_a_file_shorter_than_a_length_is_cut(tmp_path, read, size):
    (tmp_path / "x").write_bytes(b"\1" * size)
    with pytest.raises(CorruptError, match=rf"{size} bytes"):
        read(tmp_path / "x")


def test_a_cut_file_says_where_it_ends_and_how_early(tmp_path, read):
    save_file({"w": torch.ones(100)}, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[:-10])
    with pytest.raises(CorruptError, match="ends 10 bytes early") as caught:
        read(tmp_path / "x")
    assert "again" in caught.value.hint
    (tmp_path / "x").write_bytes(whole[:20])
    with pytest.raises(CorruptError, match=r"ends at byte 20, .* inside its header") as caught:
        read(tmp_path / "x")
    assert "again" in caught.value.hint


def test_a_file_cut_anywhere_is_refused(tmp_path, read):
    save_file({"w": torch.ones(3), "v": torch.zeros(0)}, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(CorruptError):
            read(tmp_path / "cut")


@pytest.mark.parametrize("length", [100_000_001, 2**63, 2**64 - 1])
def test_a_header_over_the_limit_is_refused_before_it_is_read(raw, read, length):
    with pytest.raises(LimitError, match=str(length)):
        read(raw(b"{}", length=length))


def test_a_length_which_ends_in_the_middle_of_the_header_is_refused(raw, read):
    with pytest.raises(CorruptError):
        read(raw(tensor(), b"abcd", length=10))


DTYPE_BITS = {"U8": 8, "F16": 16, "F32": 32, "F4": 4, "BOOL": 8, "F6_E2M3": 6}


@st.composite
def headers(draw):
    """A header which is right, or in which one number or word is another, and the size of its data."""
    header, position = {}, 0
    for key in draw(st.permutations("abc"))[: draw(st.integers(0, 3))]:
        dtype, shape = draw(st.sampled_from([*DTYPE_BITS])), draw(st.lists(st.integers(0, 4), max_size=3))
        nbytes = math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + nbytes]}
        position += nbytes
    if header and draw(st.booleans()):
        entry, number = draw(st.sampled_from([*header.values()])), draw(st.sampled_from([0, 1, 2, 4, -1, 2**62, 2.0, True, None]))
        entry.update(
            draw(st.sampled_from([{"dtype": "U8"}, {"shape": [number]}, {"data_offsets": [0, number]}, {"data_offsets": [number, 4]}]))
        )
    return header, position


@settings(max_examples=300)
@given(case=headers())
def test_what_is_accepted_here_the_reference_library_accepts_and_reads_alike(tmp_path_factory, case):
    header, size = case
    path = tmp_path_factory.mktemp("both") / "x"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes([1]) * size)
    with InputFile(str(path)) as file:
        try:
            reader = SafetensorsReader(file)
        except CorruptError:
            return
        with safe_open(path, "pt") as reference:
            assert sorted(reference.keys()) == sorted(reader.header)
            for key in reader.header.opaque:
                with pytest.raises(SafetensorError):
                    reference.get_tensor(key)
            for key in reader.header.tensors:
                found, other = reader.read(key), reference.get_tensor(key)
                assert (found.shape, found.dtype) == (other.shape, other.dtype)
                assert torch.equal(found.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def test_a_header_is_read_without_torch_and_numpy(tmp_path):
    save_file({"w": torch.ones(3)}, tmp_path / "x.safetensors")
    script = (
        "import sys; from ckpt_surgeon.formats.opening import open_checkpoint;"
        "print(open_checkpoint(sys.argv[1]).header.tensors['w']);"
        "print([name for name in ('torch', 'numpy', 'safetensors', 'yaml') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.safetensors")], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["f32[3]", "[]"]


def carried(**texts):
    return {"__metadata__": {f"ckpt_surgeon.{name}": text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}}


@pytest.mark.parametrize(
    "texts",
    [
        {"ties": {"v": "missing"}},
        {"ties": {"w": "w"}},
        {"ties": {"v": "w", "u": "v"}},
        {"ties": ["v"]},
        {"ties": {"v": 1}},
        {"ties": "{"},
        {"ties": '{"v": "w", "v": "w"}'},
        {"ties": {"v": "w"}, "order": ["w"]},
        {"ties": {"v": "w"}, "order": ["w", "w"]},
        {"ties": {"v": "w"}, "order": ["w", "v", "u"]},
        {"ties": {"v": "w"}, "order": {"w": 1, "v": 2}},
        {"order": [1]},
        {"torch_metadata": []},
        {"torch_metadata": {"": 1}},
        {"torch_metadata": "nonsense"},
    ],
    ids=str,
)
def test_what_we_carry_in_the_metadata_is_checked_hard(raw, read, texts):
    with pytest.raises(CorruptError, match="ckpt_surgeon"):
        read(raw({**carried(**texts), **tensor()}, b"abcd"))


def test_ties_without_an_order_follow_the_tensors(raw, read):
    reader = read(raw({**carried(ties={"v": "w"}), **tensor()}, b"\0\0\0\0"))
    assert list(reader.header) == ["w", "v"]
    assert reader.header.aliases == {"v": "w"}
    assert reader.header.tensors["v"] == reader.header.tensors["w"]
    assert reader.span("v") == reader.span("w")
    assert torch.equal(reader.read("v"), reader.read("w"))


def test_what_we_carry_is_not_part_of_the_users_metadata(raw, read):
    texts = carried(ties={"v": "w"}, torch_metadata={"": {"version": 1}, "bn": {"version": 2}}, digest="abc")
    header = read(raw({**texts, **tensor()}, b"abcd")).header
    assert header.metadata == {"ckpt_surgeon.digest": "abc"}
    assert header.torch_metadata == {"": {"version": 1}, "bn": {"version": 2}}
