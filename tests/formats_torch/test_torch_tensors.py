"""Tensors of a torch file: dtypes, strides, sharing, and every number which can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import assert_same, checkpoint, opened, raw_bytes, saved, storage_node, table_node, tensor_node

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node, Persistent
from ckpt_surgeon.formats.torch_bytes import swapped
from ckpt_surgeon.formats.torch_tensors import contiguous_strides
from ckpt_surgeon.spec import DTYPES, Opaque

SAVABLE = [name for name in DTYPES if not (name.startswith(("int", "uint")) and DTYPES[name].is_packed)]


def _filled(dtype: str) -> torch.Tensor:
    """A `[2, 3]` tensor whose bytes all differ."""
    itemsize = DTYPES[dtype].itemsize
    data = torch.arange(6 * itemsize, dtype=torch.uint8)
    return (data % 2).bool().reshape(2, 3) if dtype == "bool" else data.view(getattr(torch, dtype)).reshape(2, 3)


@pytest.mark.parametrize("dtype", SAVABLE)
def test_a_tensor_of_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    tensor = _filled(dtype)
    with opened(saved(tmp_path, {"a": tensor})) as reader:
        assert str(reader.header.tensors["a"]) == f"{DTYPES[dtype].short}[2, 3]"
        assert_same(reader.read("a"), tensor)
        span = reader.span("a")
        assert span is not None
        assert span.read(0, span.nbytes) == raw_bytes(tensor)


BASE = torch.arange(24.0)
VIEWS: dict[str, tuple[torch.Tensor, bool]] = {
    "whole": (BASE, True),
    "reshaped": (BASE.reshape(2, 3, 4), True),
    "rows": (BASE.reshape(6, 4)[2:4], True),
    "one element": (BASE[5], True),
    "0-dim": (torch.tensor(3.0), True),
    "a row of a column": (BASE.reshape(6, 4)[2:3, 1:3], True),
    "sizes of 1 with odd strides": (BASE.as_strided((1, 4, 1), (77, 1, 33)), True),
    "empty": (torch.empty(0), True),
    "empty with dims": (torch.empty(0, 3), True),
    "empty end of a storage": (BASE[24:], True),
    "empty and transposed": (torch.empty(3, 0).t(), True),
    "transposed": (BASE.reshape(6, 4).t(), False),
    "permuted": (BASE.reshape(2, 3, 4).permute(2, 0, 1), False),
    "columns": (BASE.reshape(6, 4)[:, 1:3], False),
    "every second": (BASE[::2], False),
    "expanded": (torch.tensor([2.0]).expand(3, 4), False),
    "expanded rows": (BASE[:4].expand(3, 4), False),
    "overlapping": (BASE.as_strided((5, 3), (1, 1)), False),
    "diagonal": (BASE[:16].reshape(4, 4).diagonal(), False),
    "channels last": (torch.arange(48.0).reshape(1, 3, 4, 4).to(memory_format=torch.channels_last), False),
    "conjugated": (torch.arange(4).to(torch.complex64).mul(1j).conj(), False),
    "imaginary part": (torch.arange(4).to(torch.complex64).conj().imag, False),
    "negated": (torch._neg_view(BASE[:3]), False),
    "conjugated and transposed": (torch.arange(4).reshape(2, 2).to(torch.complex128).mul(1j).mH, False),
    "a half with strides": (BASE.half().reshape(4, 6).t()[1:3], False),
    "an fp8 with strides": (BASE.to(torch.float8_e4m3fn).reshape(4, 6).t(), False),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_read_as_it_is_and_spans_only_where_its_bytes_lie_plain(tmp_path: Path, name: str) -> None:
    tensor, is_spanned = VIEWS[name]
    with opened(saved(tmp_path, {"a": tensor})) as reader:
        found = reader.read("a")
        assert_same(found, tensor)
        assert found.is_contiguous()
        span = reader.span("a")
        assert (span is not None) == is_spanned
        if span is not None:
            assert span.read(0, span.nbytes) == raw_bytes(tensor)


def test_what_is_read_is_private_and_writable(tmp_path: Path) -> None:
    with opened(saved(tmp_path, {"a": torch.ones(3), "b": torch.ones(1).expand(3)})) as reader:
        for key in ("a", "b"):
            reader.read(key).mul_(5)
            assert reader.read(key).tolist() == [1, 1, 1]


def test_ties_are_same_views_of_the_same_storage_and_nothing_else(tmp_path: Path) -> None:
    table = {"a": BASE, "b": BASE[:], "half": BASE[:12], "end": BASE[12:], "rows": BASE.reshape(6, 4), "own": BASE.clone(), "c": BASE}
    table |= {"rows again": BASE.reshape(6, 4), "also end": BASE[12:]}
    with opened(saved(tmp_path, table)) as reader:
        assert dict(reader.header.aliases) == {"b": "a", "c": "a", "rows again": "rows", "also end": "end"}


def test_parameters_are_tensors(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    parameter.note = "attribute"
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    with opened(saved(tmp_path, {"a": parameter, "b": frozen})) as reader:
        assert {key: str(spec) for key, spec in reader.header.tensors.items()} == {"a": "f32[2, 3]", "b": "f32[2]"}
        assert_same(reader.read("a"), parameter)
        assert type(reader.read("a")) is torch.Tensor


def test_a_tensor_with_attributes_is_a_tensor(tmp_path: Path) -> None:
    tensor = torch.ones(2)
    tensor.note = "attribute"
    with opened(saved(tmp_path, {"a": tensor})) as reader:
        assert_same(reader.read("a"), torch.ones(2))


class Marked(torch.Tensor):
    """A subclass of the user's."""


OPAQUE: dict[str, tuple[Any, str]] = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "sparse_coo tensor f32[3, 3]"),
    "compressed": (lambda: torch.eye(3).to_sparse_csr(), "sparse_csr tensor f32[3, 3]"),
    "blocks": (lambda: torch.eye(4).to_sparse_bsr((2, 2)), "sparse_bsr tensor f32[4, 4]"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized tensor qint8[2]"),
    "meta": (lambda: torch.empty(2, 3, device="meta"), "meta tensor f32[2, 3] without data"),
    "subclass": (lambda: torch.ones(2).as_subclass(Marked), "tensor subclass test_torch_tensors.Marked"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested tensor"),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OPAQUE)
def test_a_tensor_which_is_not_plain_is_opaque_and_never_made_dense(tmp_path: Path, name: str) -> None:
    make, description = OPAQUE[name]
    with opened(saved(tmp_path, {"a": torch.ones(2), "odd": make()})) as reader:
        assert reader.header.opaque == {"odd": Opaque(description)}
        assert reader.span("odd") is None
        with pytest.raises(UnsafeError, match=description.split()[0]) as caught:
            reader.read_opaque("odd")
        assert caught.value.problems[0].where.endswith("source.pt: odd")
        with pytest.raises(KeyError):
            reader.read("odd")


SIX_FLOATS = bytes(24)
V1, V3 = "_rebuild_tensor", "_rebuild_tensor_v3"
HOOKS = Call(Global("collections", "OrderedDict"), ())
HUGE = 2**62
UNTYPED = storage_node("0", "UntypedStorage", 24, module="torch.storage")
LAYOUT = Call(Global("torch.serialization", "_get_layout"), ("torch.sparse_coo",))
PARAMETER = Global("torch._utils", "_rebuild_parameter")


def untyped(dtype: Node, size: Any = (6,), stride: Any = (1,)) -> Call:
    """A tensor on an untyped storage."""
    return tensor_node(UNTYPED, 0, size, stride, dtype, function=V3)


GOOD_NODES: list[tuple[str, Node, str]] = [
    ("v2", tensor_node(), "f32[2, 3]"),
    ("v2 with metadata None", tensor_node(None, 0, (6,), (1,), None), "f32[6]"),
    ("v2 with empty metadata", tensor_node(None, 0, (6,), (1,), Dict()), "f32[6]"),
    ("v1", Call(Global("torch._utils", V1), (storage_node(), 0, (6,), (1,))), "f32[6]"),
    ("v3", untyped(Global("torch", "float32"), size=(2, 3), stride=(3, 1)), "f32[2, 3]"),
    ("a size as torch.Size", tensor_node(None, 0, Call(Global("torch", "Size"), ((6,),)), (1,)), "f32[6]"),
    ("a size as a list", tensor_node(None, 0, [6], [1]), "f32[6]"),
    ("the last element", tensor_node(None, 5, (), ()), "f32[]"),
    ("empty at the end", tensor_node(None, 6, (0,), (1,)), "f32[0]"),
    ("stride 0", tensor_node(None, 5, (1000, 1000), (0, 0)), "f32[1000, 1000]"),
    ("empty past the end", tensor_node(None, 7, (0,), (1,)), "f32[0]"),
    ("64 dims", tensor_node(None, 0, (1,) * 64, (1,) * 64), f"f32[{', '.join('1' * 64)}]"),
    ("a storage of torch.cuda", tensor_node(storage_node(module="torch.cuda", location="cuda:3")), "f32[2, 3]"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "spec"), [case[1:] for case in GOOD_NODES], ids=[case[0] for case in GOOD_NODES])
def test_a_tensor_in_any_form_of_torch_is_known(tmp_path: Path, node: Node, spec: str) -> None:
    with opened(checkpoint(tmp_path, table_node(a=node), {"0": SIX_FLOATS})) as reader:
        assert str(reader.header.tensors["a"]) == spec
        assert tuple(reader.read("a").shape) == reader.header.tensors["a"].shape


BAD_NODES: list[tuple[str, Node, str]] = [
    ("past the end by its size", tensor_node(None, 0, (7,), (1,)), "reaches past"),
    ("past the end by its offset", tensor_node(None, 1, (6,), (1,)), "reaches past"),
    ("past the end by a stride", tensor_node(None, 0, (2, 3), (4, 1)), "reaches past"),
    ("past the end by one element", tensor_node(None, 6, (), ()), "reaches past"),
    ("past the end by a stride of 2**62", tensor_node(None, 0, (2,), (HUGE,)), "reaches past"),
    ("past the end by an offset of 2**62", tensor_node(None, HUGE, (1,), (1,)), "reaches past"),
    ("a stride over 64 bits", tensor_node(None, 0, (2,), (2**63,)), "stride"),
    ("an offset over 64 bits", tensor_node(None, 2**64, (1,), (1,)), "offset"),
    ("a size over 64 bits", tensor_node(None, 0, (2**64,), (0,)), "size"),
    ("more elements than 64 bits", tensor_node(None, 0, (2**32, 2**32), (0, 0)), "larger than any memory"),
    ("more bytes than 64 bits", tensor_node(None, 0, (HUGE,), (0,)), "larger than any memory"),
    ("empty, and too large besides", tensor_node(None, 0, (0, 2**40, 2**40), (1, 1, 1)), "larger than any memory"),
    ("a negative size", tensor_node(None, 0, (-1,), (1,)), "size"),
    ("a negative stride", tensor_node(None, 5, (6,), (-1,)), "stride"),
    ("a negative offset", tensor_node(None, -1, (6,), (1,)), "offset"),
    ("a size which is a float", tensor_node(None, 0, (6.0,), (1,)), "size"),
    ("a size which is a boolean", tensor_node(None, 0, (True,), (1,)), "size"),
    ("an offset which is a boolean", tensor_node(None, True, (1,), (1,)), "offset"),
    ("an offset which is a text", tensor_node(None, "0", (1,), (1,)), "offset"),
    ("a size which is no tuple", tensor_node(None, 0, 6, (1,)), "size is no tuple"),
    ("a size which is a text", tensor_node(None, 0, "6", (1,)), "size is no tuple"),
    ("fewer strides than sizes", tensor_node(None, 0, (2, 3), (1,)), "1 strides"),
    ("more strides than sizes", tensor_node(None, 0, (6,), (1, 1)), "2 strides"),
    ("65 dims", tensor_node(None, 0, (1,) * 65, (1,) * 65), "64 sizes"),
    ("no arguments", Call(Global("torch._utils", "_rebuild_tensor_v2"), ()), "0 arguments"),
    ("too many arguments", tensor_node(None, 0, (6,), (1,), None, 1), "8 arguments"),
    ("no storage", tensor_node("storage", 0, (6,), (1,)), "'storage', which is no storage"),
    ("a storage which is not there", tensor_node(storage_node("1")), "not in the file"),
    ("a storage named by a path", tensor_node(storage_node("../0")), "not in the file"),
    ("a storage smaller than said", tensor_node(storage_node(numel=7)), "claims 28"),
    ("a storage larger than said", tensor_node(storage_node(numel=5)), "claims 20"),
    ("a storage of a wider type", tensor_node(storage_node("0", "DoubleStorage")), "claims 48"),
    ("a storage of 2**63 elements", tensor_node(storage_node(numel=2**63)), "more than any memory"),
    ("a storage of -1 elements", tensor_node(storage_node(numel=-1)), "persistent id"),
    ("a storage of 6.0 elements", tensor_node(storage_node(numel=6.0)), "persistent id"),
    ("a storage of True elements", tensor_node(storage_node(numel=True)), "persistent id"),
    ("a storage with a number for its key", tensor_node(storage_node(0)), "persistent id"),
    ("a storage without a place", tensor_node(storage_node(location=None)), "persistent id"),
    ("a storage of an unknown class", tensor_node(storage_node("0", "EvilStorage")), "unknown class torch.EvilStorage"),
    ("a storage of another module", tensor_node(storage_node(module="evil")), "unknown class evil.FloatStorage"),
    ("a short persistent id", tensor_node(Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu"))), "persistent id"),
    ("a long persistent id", tensor_node(Persistent((*storage_node().pid, None, None))), "persistent id"),
    ("a storage whose class is a text", tensor_node(Persistent(("storage", "FloatStorage", "0", "cpu", 6))), "persistent id"),
    ("a persistent id of something else", tensor_node(Persistent(("module", Global("a", "B"), "f", "s"))), "persistent id"),
    ("a persistent id which is a text", tensor_node(Persistent("storage")), "persistent id"),
    ("a parameter of two arguments", Call(Global("torch._utils", "_rebuild_parameter"), (tensor_node(), True)), "2 arguments"),
    ("a parameter on a bad tensor", Call(PARAMETER, (tensor_node(None, 9), True, HOOKS)), "reaches past"),
    ("a sparse tensor of one argument", Call(Global("torch._utils", "_rebuild_sparse_tensor"), (1,)), "sparse"),
    ("a sparse tensor without values", Call(Global("torch._utils", "_rebuild_sparse_tensor"), (LAYOUT, (1, 2, (3,)))), "without indices"),
    ("a quantized tensor without a storage", Call(Global("torch._utils", "_rebuild_qtensor"), (1, 2, 3)), "quantized"),
    ("a meta tensor of one argument", Call(Global("torch._utils", "_rebuild_meta_tensor_no_storage"), (1,)), "meta"),
    ("a subclass of one argument", Call(Global("torch._tensor", "_rebuild_from_type_v2"), (1,)), "subclass"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "text"), [case[1:] for case in BAD_NODES], ids=[case[0] for case in BAD_NODES])
def test_a_tensor_which_does_not_fit_its_storage_is_corrupt(tmp_path: Path, node: Node, text: str) -> None:
    path = checkpoint(tmp_path, table_node(good=tensor_node(), bad=node), {"0": SIX_FLOATS})
    with pytest.raises(CorruptError, match=text) as caught:
        opened(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


ODD_NODES: list[tuple[str, Node, str]] = [
    ("an unknown dtype", untyped(Global("torch", "float7")), "unknown dtype torch.float7"),
    ("a dtype of another module", untyped(Global("evil", "float32")), "unknown dtype evil.float32"),
    ("an untyped storage without a dtype", tensor_node(UNTYPED, 0, (6,), (1,)), "unknown dtype torch.storage.UntypedStorage"),
    ("unknown metadata", tensor_node(None, 0, (6,), (1,), Dict([("evil", True)])), "unknown metadata"),
    ("metadata which is no boolean", tensor_node(None, 0, (6,), (1,), Dict([("conj", 1)])), "unknown metadata"),
    ("a state", Call(Global("torch._utils", "_rebuild_tensor_v2"), tensor_node().arguments, state=Dict()), "state of its own"),
    ("a parameter of an int", Call(Global("torch._utils", "_rebuild_parameter"), (1, True, HOOKS)), "parameter of ?"),
    ("a wrapper subclass", Call(Global("torch._utils", "_rebuild_wrapper_subclass"), ()), "wrapper subclass"),
    ("a function of the user's", Call(Global("evil", "_rebuild_tensor_v2"), tensor_node().arguments), "evil._rebuild_tensor_v2"),
    ("a call which is no reduction", Call(tensor_node().function, tensor_node().arguments, "newobj"), "_rebuild_tensor_v2"),
    ("a legacy tensor object", Call(Global("torch", "FloatTensor"), (), "newobj", state=(1, 2)), "torch.FloatTensor"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "text"), [case[1:] for case in ODD_NODES], ids=[case[0] for case in ODD_NODES])
def test_what_only_torch_could_rebuild_is_opaque(tmp_path: Path, node: Node, text: str) -> None:
    with opened(checkpoint(tmp_path, table_node(a=tensor_node(), b=tensor_node(), odd=node), {"0": SIX_FLOATS})) as reader:
        assert text in str(reader.header.opaque["odd"])
        assert list(reader.header.tensors) == ["a", "b"]


def test_a_parameter_wrapped_without_end_is_over_the_limit(tmp_path: Path) -> None:
    node: Node = tensor_node()
    for _ in range(4000):
        node = Call(Global("torch._utils", "_rebuild_parameter"), (node, True, HOOKS))
    with pytest.raises(LimitError, match="wrapped"):
        opened(checkpoint(tmp_path, table_node(a=node), {"0": SIX_FLOATS}))


def test_an_expansion_far_beyond_its_storage_is_described_but_not_read(tmp_path: Path) -> None:
    node = tensor_node(None, 0, (2**40,), (0,))
    with opened(checkpoint(tmp_path, table_node(a=node, b=tensor_node()), {"0": SIX_FLOATS})) as reader:
        assert reader.header.tensors["a"].shape == (2**40,)
        assert reader.span("a") is None
        with pytest.raises(LimitError, match="expanded from 4 bytes"):
            reader.read("a")


def test_one_storage_under_two_dtypes_is_read_as_both(tmp_path: Path) -> None:
    root = table_node(a=tensor_node(), b=tensor_node(storage_node("0", "IntStorage"), 0, (6,), (1,)))
    data = raw_bytes(torch.tensor([1.0, 2, 3, 4, 5, 6]))
    with opened(checkpoint(tmp_path, root, {"0": data})) as reader:
        assert reader.read("a").tolist() == [[1, 2, 3], [4, 5, 6]]
        assert reader.read("b").tolist() == torch.tensor([1.0, 2, 3, 4, 5, 6]).view(torch.int32).tolist()
        assert dict(reader.header.aliases) == {}


def test_a_storage_with_a_rest_smaller_than_an_element_is_read(tmp_path: Path) -> None:
    with opened(checkpoint(tmp_path, table_node(a=tensor_node()), {"0": SIX_FLOATS + b"\1\2"})) as reader:
        assert reader.read("a").tolist() == [[0, 0, 0], [0, 0, 0]]


ORDERED = {
    "f32": ("FloatStorage", torch.tensor([1.5, -2.0, 3.25, 4, 5, 6])),
    "i64": ("LongStorage", torch.arange(6)),
    "bf16": ("BFloat16Storage", torch.arange(6).bfloat16()),
    "c64": ("ComplexFloatStorage", torch.arange(6).to(torch.complex64) * (1 + 2j)),
    "u8": ("ByteStorage", torch.arange(6, dtype=torch.uint8)),
}


@pytest.mark.parametrize("name", ORDERED)
def test_a_big_endian_file_is_put_in_order(tmp_path: Path, name: str) -> None:
    owner, tensor = ORDERED[name]
    width = tensor.element_size() // (2 if tensor.is_complex() else 1)
    data = bytes(swapped(raw_bytes(tensor), width))
    node = table_node(a=tensor_node(storage_node("0", owner), 0, (6,), (1,)))
    with opened(checkpoint(tmp_path, node, {"0": data}, byteorder=b"big")) as reader:
        assert_same(reader.read("a"), tensor)
        assert (reader.span("a") is None) == (width > 1)


@pytest.mark.parametrize(
    ("data", "width", "result"), [(b"", 4, b""), (b"abcd", 1, b"abcd"), (b"abcd", 2, b"badc"), (b"abcdefgh", 4, b"dcbahgfe")]
)
def test_swapping_turns_each_number_around(data: bytes, width: int, result: bytes) -> None:
    assert swapped(data, width) == result


@given(st.lists(st.integers(0, 5), max_size=5))
def test_contiguous_strides_are_those_of_torch(shape: list[int]) -> None:
    assert contiguous_strides(tuple(shape)) == torch.empty(shape).stride()


@st.composite
def _strided(draw: st.DrawFn) -> torch.Tensor:
    """A tensor of any strides which stay inside of 24 elements."""
    base = torch.arange(24.0)
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    strides = [draw(st.integers(0, 8)) for _ in shape]
    extent = sum(max(size - 1, 0) * stride for size, stride in zip(shape, strides, strict=True))
    if extent > 23:
        return base[draw(st.integers(0, 23)) :]
    return base.as_strided(shape, strides, draw(st.integers(0, 23 - extent)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(_strided())
def test_any_strides_are_read_as_torch_reads_them(tmp_path: Path, tensor: torch.Tensor) -> None:
    with opened(saved(tmp_path, {"a": tensor})) as reader:
        assert_same(reader.read("a"), tensor)
        assert (reader.span("a") is not None) == (tensor.is_contiguous() or not tensor.numel())


NUMBERS = st.integers(-2, 30) | st.sampled_from([2**31, 2**62, 2**63, 2**64, True, None, 1.0, "1"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(NUMBERS, st.lists(NUMBERS, max_size=3), st.lists(NUMBERS, max_size=3), NUMBERS)
def test_any_numbers_are_read_or_refused_and_nothing_else(tmp_path: Path, offset: Any, shape: Any, strides: Any, numel: Any) -> None:
    node = tensor_node(storage_node(numel=numel), offset, tuple(shape), tuple(strides))
    path = checkpoint(tmp_path, table_node(a=node), {"0": SIX_FLOATS})
    try:
        with opened(path) as reader:
            assert reader.read("a").shape == tuple(shape)
    except SurgeryError:
        return
