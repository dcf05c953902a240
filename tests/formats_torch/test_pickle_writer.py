"""Nodes -> bytes: what `torch.save` wrote becomes the same bytes again, and CPython reads what is written."""

from __future__ import annotations

import argparse
import collections
import pickle
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_files import pickle_of

from ckpt_surgeon.errors import LimitError
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Letter, Node, Persistent, Set
from ckpt_surgeon.formats.pickle_reader import read_pickle
from ckpt_surgeon.formats.pickle_writer import write_pickle


def again(data: bytes) -> bytes:
    node, end = read_pickle(data)
    assert end == len(data)
    return write_pickle(node)


class Holder:
    """A class of the user's, with a state."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self) -> None:
        self.left, self.right = 1, [2]


class Listed(list):  # type: ignore[type-arg]
    """A list with attributes."""


class Reduced:
    """A class with items, pairs and a state of its own."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: list[Any]) -> None:
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __reduce__(self) -> tuple[Any, ...]:
        return Reduced, ([],), {"state": 1}, iter(range(len(self.items))), iter([(1, 2), (3, 4)])


def _trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    net = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(12)), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return net, optimizer


def _itself() -> list[Any]:
    looped: list[Any] = [1]
    looped.append(looped)
    short: tuple[list[Any]] = ([],)
    short[0].append(short)
    long: tuple[Any, ...] = ([], 1, 2, 3)
    long[0].append(long)
    holder = Holder(name="0")
    holder.me = (holder, [holder])
    return [looped, short, long, holder]


NET, OPTIMIZER = _trained()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    COMPRESSED = torch.eye(3).to_sparse_csr()
    QUANTIZED = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
BASE = torch.arange(12.0)
VALUES: dict[str, Any] = {
    "state_dict": NET.state_dict(),
    "module": NET,
    "data parallel module": torch.nn.DataParallel(NET),
    "adam": OPTIMIZER.state_dict(),
    "pickled optimizer": OPTIMIZER,
    "sgd": torch.optim.SGD(NET.parameters(), lr=0.1, momentum=0.9).state_dict(),
    "scheduler": torch.optim.lr_scheduler.StepLR(OPTIMIZER, 3).state_dict(),
    "envelope": {"state_dict": NET.state_dict(), "epoch": 3, "optimizer": OPTIMIZER.state_dict(), "best": 0.5, "name": "0"},
    "namespace": argparse.Namespace(lr=0.1, names=["a", "b"], one="0", nested=argparse.Namespace()),
    "simple namespace": types.SimpleNamespace(a=1),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "parameters": torch.nn.ParameterDict({"a": torch.ones(1), "0": torch.ones(2)}),
    "numpy": [np.float64(1.5), np.int64(3), np.arange(6).reshape(2, 3), np.bool_(True), np.dtype("float32")],
    "views": [BASE, BASE[2:5], BASE.reshape(3, 4).t(), BASE.expand(2, 12), BASE],
    "dtypes": [torch.ones(2, dtype=dtype) for dtype in (torch.bfloat16, torch.float8_e5m2, torch.complex64, torch.bool, torch.uint16)],
    "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
    "sparse": [torch.eye(3).to_sparse(), COMPRESSED],
    "quantized": QUANTIZED,
    "storage": torch.ones(2).untyped_storage(),
    "torch things": [torch.float32, torch.device("cpu"), torch.Size([1, 2]), torch.nn.Linear],
    "no items": [[], {}, (), set(), frozenset(), collections.OrderedDict(), b"", bytearray(), "", None, True, False],
    "one item": [[1], {1: 2}, (1,), {1}, collections.OrderedDict(a=1), b"x", bytearray(b"x"), "x"],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1,), (1,)), ("a", ("b", ("c",)))],
    "sets": [{1, 2, 3}, frozenset("abc"), {"a"}],
    "bytes": [b"a", b"abc\xff", b"abc", bytearray(b"abc"), b"abc\xff"],
    "texts": ["0", str(0), "é", "日本語", "\udc80", "a" * 300, "new\nline", "\x00", "0"],
    "floats": [0.0, -0.0, 1.5, 1e300, 5e-324, float("inf"), float("nan")],
    "ints": [
        0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -1, -128, -129, -(2**31), -(2**31) - 1, 2**63, -(2**63), 2**64, -(2**64),
        2**2031, 2**2039, 2**2040, -(2**2039), -(2**2040), 2**3000, 127 << 8, 128 << 24, -(128 << 32), -(255 << 56),
    ],
    "object": Holder(a=1, b=Holder(), names=["0", "0"]),
    "slots": Slotted(),
    "list with attributes": Listed([1, 2]),
    "items, pairs and state": [Reduced([0]), Reduced(list(range(5)))],
    "defaultdict": collections.defaultdict(list, {1: [2]}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2, 3], maxlen=5),
    "functions and classes": [len, print, Holder, str.join, int, dict, collections.OrderedDict],
    "ranges": [range(3), slice(1, 2), complex(1, 2), Path],
    "loops": _itself(),
    "shared": [NET[0].weight, {"a": NET[0].weight}, NET[0].weight.data, "key", "key"],
    "300 objects": [[index] for index in range(300)],
    "300 texts twice": [f"name{index}" for index in range(300)] * 2,
    "70,000 texts": [f"{index}" for index in range(70_000)],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", VALUES)
def test_what_torch_wrote_becomes_the_same_bytes(name: str) -> None:
    data = pickle_of(VALUES[name])
    assert again(data) == data


COUNTS = [0, 1, 2, 3, 999, 1000, 1001, 1002, 1999, 2000, 2001, 3000, 3001]
MAKERS: dict[str, Any] = {
    "list": lambda count: list(range(count)),
    "tuple": lambda count: tuple(range(count)),
    "dict": lambda count: dict.fromkeys(range(count)),
    "OrderedDict": lambda count: collections.OrderedDict((index, None) for index in range(count)),
    "Counter": lambda count: collections.Counter(range(count)),
    "deque": lambda count: collections.deque(range(count)),
    "list with attributes": lambda count: Listed(range(count)),
    "set": lambda count: set(range(count)),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", MAKERS)
def test_batches_end_where_cpython_ends_them(name: str, count: int) -> None:
    data = pickle.dumps(MAKERS[name](count), 2)
    assert again(data) == data


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=6).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=6)
        | st.dictionaries(st.text(), inner, max_size=6).map(collections.OrderedDict)
        | st.frozensets(st.integers(), max_size=4)
        | inner.map(lambda item: [item, item])
    ),
    max_leaves=40,
)


@given(PLAIN)
def test_any_plain_value_becomes_the_bytes_of_cpython(value: Any) -> None:
    try:
        data = pickle.dumps(value, 2)
    except UnicodeEncodeError:
        return
    assert again(data) == data


@given(PLAIN, st.sampled_from([0, 1, 3, 4, 5]))
def test_what_another_protocol_wrote_reads_the_same(value: Any, protocol: int) -> None:
    try:
        data = pickle.dumps(value, protocol)
    except UnicodeEncodeError:
        return
    assert repr(pickle.loads(again(data))) == repr(pickle.loads(data))


PORTED: dict[str, Any] = {
    "object": Holder(a=[1, 2], b={"c": (1, 2)}),
    "items, pairs and state": Reduced([1, 2, 3]),
    "slots": Slotted(),
    "nested names": [str.join, collections.OrderedDict.fromkeys, dict.fromkeys],
    "keywords": [types.SimpleNamespace(a=1)],
    "bytes": [b"", b"a", b"abc\xff" * 100, bytearray(b"xyz"), bytearray()],
    "sets": [{1, 2}, frozenset({3}), set(), frozenset()],
    "long texts": ["a" * 300, "b" * 70_000],
    "numpy": np.arange(5),
    "counter": collections.Counter("hello"),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", PORTED)
def test_an_object_of_any_protocol_is_rebuilt_by_cpython(name: str, protocol: int) -> None:
    if name == "slots" and protocol < 2:
        pytest.skip("CPython does not pickle slots there")
    data = pickle.dumps(PORTED[name], protocol)
    assert _parts(pickle.loads(again(data))) == _parts(pickle.loads(data))


def _parts(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Slotted):
        return value.left, value.right
    return (type(value), [_parts(item) for item in value]) if isinstance(value, list) else getattr(value, "__dict__", value)


class Keyworded:
    """A class whose `__new__` takes keywords: only protocol 4 says that in an opcode."""

    def __new__(cls, *, size: int) -> Keyworded:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_class_made_with_keywords_is_rebuilt(protocol: int) -> None:
    assert pickle.loads(again(pickle.dumps(Keyworded(size=3), protocol))).size == 3


@pytest.mark.parametrize(
    ("node", "data"),
    [
        (None, b"N"),
        ([Letter("0"), Letter("0")], b"]q\x00(X\x01\x00\x00\x000q\x01X\x01\x00\x00\x000q\x02e"),
        (Call(Global("a", "B"), (1,), "inst"), b"(K\x01ia\nB\nq\x00"),
        (Call(Global("a", "B"), (1,), "obj"), b"(ca\nB\nq\x00K\x01oq\x01"),
        (Call(Global("a", "B"), (), "newobj", state=None), b"ca\nB\nq\x00)\x81q\x01Nb"),
        (Call(Global("a", "B"), (), pairs=[(1, 2)]), b"ca\nB\nq\x00)Rq\x01K\x01K\x02s"),
        (Call(Global("a", "B"), (), items=[1, 2]), b"ca\nB\nq\x00)Rq\x01(K\x01K\x02e"),
        (Persistent("key"), b"X\x03\x00\x00\x00keyq\x00Q"),
        (Dict([(1, 2), (1, 3)]), b"}q\x00(K\x01K\x02K\x01K\x03u"),
        (Dict(), b"}q\x00"),
        (Set([1]), b"c__builtin__\nset\nq\x00]q\x01K\x01a\x85q\x02Rq\x03"),
        (Set([1], frozen=True), b"c__builtin__\nfrozenset\nq\x00]q\x01K\x01a\x85q\x02Rq\x03"),
    ],
)
def test_a_node_is_written_as(node: Node, data: bytes) -> None:
    assert write_pickle(node) == b"\x80\x02" + data + b"."


def test_another_node_may_stand_for_one_and_is_written_once() -> None:
    old, new = Dict([("a", 1)]), Dict([("b", 2)])
    data = write_pickle([old, old, (old,)], lambda node: new if node is old else node)
    first, second, (third,) = pickle.loads(data)
    assert first == {"b": 2}
    assert first is second is third
    assert old.pairs == [("a", 1)]


def test_what_stands_for_a_node_may_be_a_constant() -> None:
    old = Dict()
    assert pickle.loads(write_pickle([old, 1], lambda node: None if node is old else node)) == [None, 1]


def test_a_deep_graph_is_written() -> None:
    node: Node = None
    for _ in range(3000):
        node = [node]
    found, depth = read_pickle(write_pickle(node))[0], 0
    while found is not None:
        found, depth = found[0], depth + 1
    assert depth == 3000


@pytest.mark.parametrize("wrap", [lambda node: [node], lambda node: (node,), lambda node: Dict([(1, node)]), lambda node: Call(node, ())])
def test_a_graph_without_bottom_is_over_the_limit(wrap: Any) -> None:
    node: Node = 1
    for _ in range(20_000):
        node = wrap(node)
    with pytest.raises(LimitError, match="nests deeper"):
        write_pickle(node)


class Outer:
    class Inner:
        """A class whose name has a dot, which protocol 2 cannot say."""


class Member:
    """Something hashable which knows the set it is in."""

    group: set[Any]


def test_a_class_inside_a_class_is_named_by_getattr() -> None:
    assert pickle.loads(again(pickle.dumps([Outer.Inner, Outer.Inner], 4))) == [Outer.Inner, Outer.Inner]


def test_a_set_whose_member_knows_it_becomes_the_bytes_of_cpython() -> None:
    member = Member()
    member.group = {member}
    data = pickle.dumps(member.group, 2)
    assert again(data) == data
