"""Tensors, storages and persistent ids which lie: each lie has its answer, and what torch would write is read beside it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doors import assert_described, assert_refused
from hostile_files import (
    EMPTY_ORDERED,
    TABLE,
    called,
    listed,
    mapping,
    name,
    number,
    older,
    raw,
    sequence,
    storage,
    tensor,
    text,
    zipped,
)
from hostile_pickles import attack

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[str]:
    """The path which every command in these files would create."""
    path = tmp_path / "canary"
    yield str(path)
    assert not path.exists()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source" / "model.pt"


def beside_honest(entry: bytes) -> bytes:
    return mapping((text("a"), tensor()), (text("b"), tensor()), (text("odd"), entry))


def floating(value: float = 0.0) -> bytes:
    return b"G" + struct.pack(">d", value)


def sizes(*values: int) -> bytes:
    return sequence(*map(number, values))


def persistent(*parts: bytes) -> bytes:
    return sequence(*parts) + b"Q"


FLOATS = name("torch.FloatStorage")
PARTS = (text("storage"), FLOATS, text("0"), text("cpu"), number(6))
QUANTIZER = sequence(name("torch.per_tensor_affine"), floating(0.1), number(0))


def layout(form: bytes = text("torch.sparse_coo"), function: str = "torch.serialization._get_layout") -> bytes:
    return called(function, form)


def sparse(*data: bytes, form: bytes | None = None) -> bytes:
    return called("torch._utils._rebuild_sparse_tensor", form or layout(), sequence(*(data or (tensor(), tensor(), sizes(3)))))


def quantized(
    shape: bytes = sizes(6), owner: str = "QInt8", numel: int = 24, quantizer: bytes = QUANTIZER, stride: bytes = sizes(1), *more: bytes
) -> bytes:
    place = storage(owner=name(f"torch.{owner}Storage"), numel=number(numel))
    return called("torch._utils._rebuild_qtensor", place, number(0), shape, stride, quantizer, b"\x89", EMPTY_ORDERED, *more)


def untyped(dtype: bytes, size: bytes = sizes(6), owner: str = "torch.storage.UntypedStorage", numel: int = 24) -> bytes:
    place = storage(owner=name(owner), numel=number(numel))
    return called("torch._utils._rebuild_tensor_v3", place, number(0), size, sizes(1), b"\x89", EMPTY_ORDERED, dtype)


def meta(dtype: bytes = name("torch.float32"), size: bytes = sizes(2, 3)) -> bytes:
    return called("torch._utils._rebuild_meta_tensor_no_storage", dtype, size, sizes(3, 1), b"\x89")


def typed(function: bytes, kind: bytes, arguments: bytes) -> bytes:
    return called("torch._tensor._rebuild_from_type_v2", function, kind, arguments, b"}")


def plain_arguments() -> bytes:
    return sequence(storage(), number(0), sizes(6), sizes(1), b"\x89", EMPTY_ORDERED)


WIDE = layout(text("torch.sparse_bsc"))
LYING = sequence(storage(), number(9), sizes(6), sizes(1), b"\x89", EMPTY_ORDERED)
SHIFTED = tensor(offset=number(1))
V2, TENSOR = name("torch._utils._rebuild_tensor_v2"), name("torch.Tensor")

# What torch writes, or could: listed with these words.
DESCRIBED: dict[str, tuple[bytes, str]] = {
    "a plain tensor": (tensor(), "f32[2, 3]"),
    "a stride which is never used": (tensor(size=sizes(1), stride=sizes(2**62)), "f32[1]"),
    "a stride of nothing": (tensor(size=sizes(0), stride=sizes(2**63 - 1)), "f32[0]"),
    "nothing past the end": (tensor(size=sizes(0), stride=sizes(1), offset=number(99)), "f32[0]"),
    "64 dims": (tensor(size=sizes(*[1] * 64), stride=sizes(*[1] * 64)), f"f32[{', '.join('1' * 64)}]"),
    "an expansion": (tensor(size=sizes(2**40), stride=sizes(0)), f"f32[{2**40}]"),
    "a sparse tensor": (sparse(), "sparse_coo tensor f32[3]"),
    "a compressed tensor": (sparse(tensor(), tensor(), tensor(), sizes(3, 3), form=WIDE), "sparse_bsc tensor f32[3, 3]"),
    "a quantized tensor": (quantized(), "quantized tensor qint8[6]"),
    "a quantized tensor, packed": (quantized(sizes(96), "QUInt2x4"), "quantized tensor quint2x4[96]"),
    "a quantized tensor of nothing": (quantized(sizes(0)), "quantized tensor qint8[0]"),
    "a new dtype": (untyped(name("torch.float8_e5m2"), sizes(24)), "f8_e5m2[24]"),
    "an old dtype in an untyped storage": (untyped(name("torch.float64"), sizes(3)), "f64[3]"),
    "another dtype than its storage's": (untyped(name("torch.int16"), sizes(12), "torch.FloatStorage", 6), "i16[12]"),
    "a meta tensor": (meta(), "meta tensor f32[2, 3] without data"),
    "a storage on a GPU": (tensor(storage(owner=name("torch.cuda.FloatStorage"), location=text("cuda:9"))), "f32[2, 3]"),
    "a tensor with attributes": (typed(V2, TENSOR, plain_arguments()), "f32[6]"),
    "a subclass": (typed(V2, name("gone.Tensor"), plain_arguments()), "tensor subclass gone.Tensor"),
    "a storage itself": (storage(), "storage"),
    "an empty text for a gradient flag": (tensor(grad=text("")), "f32[2, 3]"),
}  # fmt: skip


@pytest.mark.parametrize("case", DESCRIBED)
def test_what_torch_could_write_is_listed(checkpoint: Path, case: str) -> None:
    entry, description = DESCRIBED[case]
    checkpoint.write_bytes(zipped(beside_honest(entry)))
    header = assert_described(checkpoint)
    assert [str(found) for found in header.entries.values()] == ["f32[2, 3]", "f32[2, 3]", description]


# (what stands as the third entry, or as its part, the answer, what it says).
Lie = tuple[bytes, type[SurgeryError], str]

NUMBERS: dict[str, Lie] = {
    "past the end by its size": (tensor(size=sizes(7), stride=sizes(1)), CorruptError, "reaches past"),
    "past the end by its offset": (tensor(offset=number(1)), CorruptError, "reaches past"),
    "past the end by its stride": (tensor(stride=sizes(4, 1)), CorruptError, "reaches past"),
    "a stride of 2**62": (tensor(stride=sizes(2**62, 1)), CorruptError, "reaches past"),
    "an offset of 2**62": (tensor(offset=number(2**62)), CorruptError, "reaches past"),
    "an offset of 2**63": (tensor(offset=number(2**63)), CorruptError, "offset"),
    "an offset of -1": (tensor(offset=number(-1)), CorruptError, "offset is no number of at least 0: -1"),
    "an offset which is a float": (tensor(offset=floating()), CorruptError, "offset"),
    "an offset which is True": (tensor(offset=b"\x88"), CorruptError, "offset"),
    "a size of -1": (tensor(size=sizes(-1, 3)), CorruptError, "size"),
    "a size of 2**64": (tensor(size=sizes(2**64, 3), stride=sizes(0, 0)), CorruptError, "size"),
    "a size of None": (tensor(size=sequence(b"N", number(3))), CorruptError, "size"),
    "a size which is a text": (tensor(size=text("23")), CorruptError, "no tuple: '23'"),
    "a size which holds itself": (tensor(size=b"]q\x05h\x05a"), CorruptError, "list of 1"),
    "a stride of -1": (tensor(stride=sizes(-3, 1)), CorruptError, "stride"),
    "a stride of -1 which is never used": (tensor(size=sizes(1), stride=sizes(-1)), CorruptError, "stride"),
    "2**64 elements": (tensor(size=sizes(2**32, 2**32), stride=sizes(0, 0)), CorruptError, "larger than any memory"),
    "2**62 elements of 4 bytes": (tensor(size=sizes(2**62), stride=sizes(0)), CorruptError, "larger than any memory"),
    "nothing, and 2**80 beside it": (tensor(size=sizes(0, 2**40, 2**40), stride=sizes(1, 1, 1)), CorruptError, "larger than any memory"),
    "65 dims": (tensor(size=sizes(*[1] * 65), stride=sizes(*[1] * 65)), CorruptError, "64 sizes"),
    "very many dims": (tensor(size=sizes(*[1] * 100_000), stride=sizes(1)), CorruptError, "64 sizes"),
    "more strides than sizes": (tensor(stride=sizes(3, 1, 1)), CorruptError, "3 strides"),
    "fewer strides than sizes": (tensor(stride=sizes(3)), CorruptError, "1 strides"),
    "conjugated real numbers": (tensor(more=mapping((text("conj"), b"\x88"))), CorruptError, "no imaginary part"),
    "a float64 past the end": (untyped(name("torch.float64")), CorruptError, "reaches past"),
}  # fmt: skip

STORAGES: dict[str, Lie] = {
    "more elements than the record": (tensor(storage(numel=number(7))), CorruptError, "has 24 bytes, and the pickle claims 28"),
    "fewer elements than the record": (tensor(storage(numel=number(5))), CorruptError, "claims 20"),
    "a wider type than the record": (tensor(storage(owner=name("torch.DoubleStorage"))), CorruptError, "claims 48"),
    "more elements, and no tensor uses it": (storage(numel=number(7000)), CorruptError, "claims 28000"),
    "no elements": (tensor(storage(numel=number(0)), size=sizes(0), stride=sizes(1)), CorruptError, "claims 0"),
    "2**61 elements": (tensor(storage(numel=number(2**61))), CorruptError, "more than any memory"),
    "an int of 8,000 bits elements": (tensor(storage(numel=number(2**8000))), CorruptError, "int of 8001 bits"),
    "a quantized type of fewer bytes": (quantized(numel=2400), CorruptError, "claims 2400"),
    "a class of another module": (tensor(storage(owner=name("evil.FloatStorage"))), CorruptError, "unknown class evil.FloatStorage"),
    "a dtype for its class": (tensor(storage(owner=name("torch.float32"))), CorruptError, "unknown class torch.float32"),
    "a class which is a text": (tensor(storage(owner=text("torch.FloatStorage"))), CorruptError, "persistent id"),
    "a name which is not there": (tensor(storage(key=text("1"))), CorruptError, "'1' is not in the file"),
    "a name which leads out": (tensor(storage(key=text("../data.pkl"))), CorruptError, "not in the file"),
    "an absolute name": (tensor(storage(key=text("/etc/passwd"))), CorruptError, "not in the file"),
    "an empty name": (tensor(storage(key=text(""))), CorruptError, "'' is not in the file"),
    "a name which is a number": (tensor(storage(key=number(0))), CorruptError, "persistent id"),
    "a name which is bytes": (tensor(storage(key=raw(b"0"))), CorruptError, "1 bytes"),
    "a name which escapes": (tensor(storage(key=text("\x1b[31m\n\0"))), CorruptError, r"\\x1b\[31m\\n\\x00"),
    "a device which is a number": (tensor(storage(location=number(0))), CorruptError, "persistent id"),
    "a length which is a text": (tensor(storage(numel=text("6"))), CorruptError, "persistent id"),
    "a length which is a float": (tensor(storage(numel=floating(6.0))), CorruptError, "persistent id"),
    "a length which is True": (tensor(storage(numel=b"\x88")), CorruptError, "persistent id"),
    "a length of -6": (tensor(storage(numel=number(-6))), CorruptError, "persistent id"),
}  # fmt: skip

PERSISTENT_IDS: dict[str, Lie] = {
    "None": (b"NQ", CorruptError, "numel\\): None"),
    "an empty tuple": (b")Q", CorruptError, "persistent id"),
    "a list": (listed(*PARTS) + b"Q", CorruptError, "list of 5"),
    "a dict": (b"}Q", CorruptError, "dict of 0"),
    "a line of text": (b"Pstorage\n", CorruptError, "'storage'"),
    "a storage": (storage() + b"Q", CorruptError, "storage"),
    "another word": (persistent(text("module"), *PARTS[1:]), CorruptError, "'module'"),
    "the older layout's source text": (persistent(text("module"), name("a.B"), text("b.py"), text("class B")), CorruptError, "'module'"),
    "four parts": (persistent(*PARTS[:4]), CorruptError, "persistent id"),
    "six parts": (tensor(persistent(*PARTS, b"N")), CorruptError, "6 parts, where torch's have 5"),
    "six parts with a view": (tensor(persistent(*PARTS, sequence(text("v"), number(0), number(6)))), CorruptError, "6 parts"),
    "a thousand parts": (persistent(*PARTS, *[b"N"] * 1000), CorruptError, "persistent id"),
}  # fmt: skip

FORMS: dict[str, Lie] = {
    "no arguments": (called("torch._utils._rebuild_tensor_v2"), CorruptError, "0 arguments"),
    "too many arguments": (tensor(more=b"NN"), CorruptError, "8 arguments"),
    "a storage which is none": (tensor(text("0")), CorruptError, "'0', which is no storage"),
    "a storage which is a tensor": (tensor(tensor()), CorruptError, "which is no storage"),
    "a size in a size": (tensor(size=called("torch.Size", called("torch.Size", sizes(2, 3)))), CorruptError, "torch.Size"),
    "a size of another class": (tensor(size=called("evil.Size", sizes(2, 3))), CorruptError, "evil.Size"),
    "a parameter of two arguments": (called("torch._utils._rebuild_parameter", tensor(), b"\x88"), CorruptError, "2 arguments"),
    "a parameter on a lie": (called("torch._utils._rebuild_parameter", SHIFTED, b"\x88", EMPTY_ORDERED), CorruptError, "past"),
    "a sparse tensor of one argument": (called("torch._utils._rebuild_sparse_tensor", layout()), CorruptError, "sparse"),
    "a sparse tensor without a layout": (sparse(form=name("torch.sparse_coo")), CorruptError, "its layout is torch.sparse_coo"),
    "a layout by another function": (sparse(form=layout(function="evil.layout")), CorruptError, "its layout is evil.layout"),
    "a layout which torch has not": (sparse(form=layout(text("torch.\x1b[31m"))), CorruptError, "its layout"),
    "a layout which is a number": (sparse(form=layout(number(3))), CorruptError, "its layout"),
    "a sparse tensor without values": (sparse(tensor(), number(1), sizes(3)), CorruptError, "without indices, values and size"),
    "a sparse tensor without a size": (sparse(tensor(), tensor(), tensor()), CorruptError, "without indices, values and size"),
    "a sparse tensor of a size of 2**80": (sparse(tensor(), tensor(), sizes(2**80)), CorruptError, "size"),
    "a sparse tensor whose values lie": (sparse(tensor(), tensor(offset=number(5)), sizes(3)), CorruptError, "reaches past"),
    "a quantized tensor past the end": (quantized(sizes(25)), CorruptError, "reaches past the 24 bytes"),
    "a packed one past the end": (quantized(sizes(97), "QUInt2x4"), CorruptError, "reaches past the 24 bytes"),
    "a quantized tensor of 2**62 strides": (quantized(sizes(2), stride=sizes(2**62)), CorruptError, "reaches past"),
    "a quantized tensor of plain floats": (quantized(owner="Float", numel=6), CorruptError, "on a torch.FloatStorage"),
    "a quantized tensor of two strides": (quantized(stride=sizes(1, 1)), CorruptError, "2 strides"),
    "a quantized tensor of eight arguments": (quantized(sizes(6), "QInt8", 24, QUANTIZER, sizes(1), b"N"), CorruptError, "quantized"),
    "a meta tensor of one argument": (called("torch._utils._rebuild_meta_tensor_no_storage", number(1)), CorruptError, "meta"),
    "a meta tensor of a size of -1": (meta(size=sizes(-1)), CorruptError, "size"),
    "a subclass of one argument": (called("torch._tensor._rebuild_from_type_v2", V2), CorruptError, "subclass"),
    "a subclass with a list of arguments": (typed(V2, TENSOR, listed(number(1))), CorruptError, "subclass"),
    "a subclass which lies": (typed(V2, TENSOR, LYING), CorruptError, "past"),
}  # fmt: skip

LIES = {
    f"{group}: {case}": lie
    for group, lies in (("numbers", NUMBERS), ("storage", STORAGES), ("persistent id", PERSISTENT_IDS), ("form", FORMS))
    for case, lie in lies.items()
}


@pytest.mark.parametrize("case", LIES)
def test_a_lying_tensor_is_refused_wherever_it_stands(checkpoint: Path, case: str) -> None:
    entry, error, says = LIES[case]
    checkpoint.write_bytes(zipped(beside_honest(entry)))
    assert_refused(checkpoint, error, says)


@pytest.mark.parametrize("case", [*STORAGES, *PERSISTENT_IDS])
def test_a_lying_storage_is_refused_beside_the_table_too(checkpoint: Path, case: str) -> None:
    entry, error, says = (STORAGES | PERSISTENT_IDS)[case]
    checkpoint.write_bytes(zipped(mapping((text("state_dict"), TABLE), (text("beside"), listed(entry)))))
    assert_refused(checkpoint, error, says)


def test_a_tensor_wrapped_without_end_is_refused(checkpoint: Path) -> None:
    entry = tensor()
    for _ in range(500):
        entry = called("torch._utils._rebuild_parameter", entry, b"\x88", EMPTY_ORDERED)
    checkpoint.write_bytes(zipped(beside_honest(entry)))
    assert_refused(checkpoint, LimitError, "wrapped")


# A part of a tensor which is a command: the place, and what the answer says (None: the tensor does not need it).
COMMANDS: dict[str, tuple[Callable[[bytes], bytes], str | None]] = {
    "its offset": (lambda evil: tensor(offset=evil), r"os\.system"),
    "its size": (lambda evil: tensor(size=evil), r"os\.system"),
    "one of its sizes": (lambda evil: tensor(size=sequence(evil, number(3))), r"os\.system"),
    "its stride": (lambda evil: tensor(stride=evil), r"os\.system"),
    "its storage": (tensor, r"os\.system"),
    "its storage's class": (lambda evil: tensor(storage(owner=evil)), r"os\.system"),
    "its storage's name": (lambda evil: tensor(storage(key=evil)), r"os\.system"),
    "its storage's device": (lambda evil: tensor(storage(location=evil)), r"os\.system"),
    "its storage's length": (lambda evil: tensor(storage(numel=evil)), r"os\.system"),
    "its persistent id": (lambda evil: tensor(evil + b"Q"), r"os\.system"),
    "its layout": (lambda evil: sparse(form=evil), r"os\.system"),
    "the name of its layout": (lambda evil: sparse(form=layout(evil)), "layout"),
    "its indices": (lambda evil: sparse(evil, tensor(), sizes(3)), "without indices"),
    "its sparse size": (lambda evil: sparse(tensor(), tensor(), evil), "without indices"),
    "the storage of a quantized one": (lambda evil: called("torch._utils._rebuild_qtensor", evil, *[number(0)] * 6), "quantized"),
    "the size of a quantized one": (quantized, r"os\.system"),
    "the size of a meta one": (lambda evil: meta(size=evil), r"os\.system"),
    "the arguments of a subclass": (lambda evil: typed(V2, TENSOR, evil), "subclass"),
    "its gradient flag": (lambda evil: tensor(grad=evil), None),
    "its hooks": (lambda evil: tensor(hooks=evil), None),
    "its metadata": (lambda evil: tensor(more=evil), None),
    "its dtype": (untyped, None),
    "the dtype of a meta one": (meta, None),
    "its quantizer": (lambda evil: quantized(quantizer=evil), None),
    "its class": (lambda evil: typed(V2, evil, plain_arguments()), None),
    "its function": (lambda evil: typed(evil, TENSOR, plain_arguments()), None),
    "its attributes": (lambda evil: called("torch._tensor._rebuild_from_type_v2", V2, TENSOR, plain_arguments(), evil), None),
    "the hooks of a parameter": (lambda evil: called("torch._utils._rebuild_parameter", tensor(), b"\x88", evil), None),
    "the state of a parameter": (
        lambda evil: called("torch._utils._rebuild_parameter_with_state", tensor(), b"\x88", EMPTY_ORDERED, evil),
        None,
    ),
    "what a parameter holds": (lambda evil: called("torch._utils._rebuild_parameter", evil, b"\x88", EMPTY_ORDERED), None),
}


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_as_a_part_of_a_tensor_never_runs(checkpoint: Path, canary: str, place: str) -> None:
    put, says = COMMANDS[place]
    checkpoint.write_bytes(zipped(beside_honest(put(attack(canary)))))
    if says is None:
        assert list(assert_described(checkpoint)) == ["a", "b", "odd"]
        return
    assert_refused(checkpoint, CorruptError, says)


VIEWS: dict[str, tuple[bytes, str | None]] = {
    "none": (b"N", None),
    "a part": (sequence(text("v"), number(0), number(6)), None),
    "past the end": (sequence(text("v"), number(3), number(4)), "no part of it"),
    "before the start": (sequence(text("v"), number(-1), number(6)), "no part of it"),
    "of -1 elements": (sequence(text("v"), number(6), number(-1)), "no part of it"),
    "of 2**70 elements": (sequence(text("v"), number(0), number(2**70)), "no part of it"),
    "too short for its tensor": (sequence(text("v"), number(0), number(5)), "past the 20 bytes"),
    "a text": (text("view"), "no part of it"),
    "a list": (listed(text("v"), number(0), number(6)), "no part of it"),
    "of two parts": (sequence(text("v"), number(0)), "no part of it"),
    "named by a number": (sequence(number(0), number(0), number(6)), "no part of it"),
    "of a float": (sequence(text("v"), floating(), number(6)), "no part of it"),
}


@pytest.mark.parametrize("case", VIEWS)
def test_a_view_of_the_older_stream_lies_within_its_storage(checkpoint: Path, case: str) -> None:
    view, says = VIEWS[case]
    checkpoint.write_bytes(older(mapping((text("a"), tensor())), view=view))
    if says is None:
        assert list(assert_described(checkpoint)) == ["a"]
        return
    assert_refused(checkpoint, CorruptError, says)


def test_a_persistent_id_of_five_parts_is_none_of_the_older_stream(checkpoint: Path) -> None:
    checkpoint.write_bytes(older(mapping((text("a"), tensor())), view=b""))
    assert_refused(checkpoint, CorruptError, "5 parts, where torch's have 6")
