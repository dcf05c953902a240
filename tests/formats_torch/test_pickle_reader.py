"""Bytes -> inert nodes: every opcode, and every way in which a pickle can lie."""

from __future__ import annotations

import collections
import gc
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.pickle_machine import Machine
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Global, Letter, Persistent, Set, lookup
from ckpt_surgeon.formats.pickle_opcodes import ACTIONS
from ckpt_surgeon.formats.pickle_reader import _result, _run, _step, read_pickle
from ckpt_surgeon.formats.torch_values import value_of


def read(data: bytes) -> Any:
    node, end = read_pickle(data)
    assert end == len(data)
    return node


def shown(node: Any) -> Any:
    """A node as plain Python which compares by value."""
    if isinstance(node, list | tuple):
        return type(node)(shown(item) for item in node)
    if isinstance(node, Dict):
        return ("dict", [(shown(key), shown(value)) for key, value in node.pairs])
    if isinstance(node, Set):
        return ("frozenset" if node.frozen else "set", [shown(item) for item in node.items])
    if isinstance(node, Global):
        return ("global", node.path)
    if isinstance(node, Persistent):
        return ("persistent", shown(node.pid))
    if isinstance(node, Call):
        extra = [shown(part) for part in (node.items, node.pairs) if part is not None]
        state = [] if node.state is ABSENT else [("state", shown(node.state))]
        return (node.kind, shown(node.function), shown(node.arguments), *extra, *state)
    return node


SCALARS = [
    (b"N.", None),
    (b"\x88.", True),
    (b"\x89.", False),
    (b"I01\n.", True),
    (b"I00\n.", False),
    (b"I-7\n.", -7),
    (b"I1\n.", 1),
    (b"L12345678901234567890L\n.", 12345678901234567890),
    (b"L-3\n.", -3),
    (b"K\xff.", 255),
    (b"M\xff\xff.", 65535),
    (b"J\xff\xff\xff\xff.", -1),
    (b"J\xff\xff\xff\x7f.", 2**31 - 1),
    (b"\x8a\x00.", 0),
    (b"\x8a\x01\x80.", -128),
    (b"\x8a\x02\xff\x00.", 255),
    (b"\x8b\x02\x00\x00\x00\x00\x80.", -32768),
    (b"F1.5\n.", 1.5),
    (b"F-1e300\n.", -1e300),
    (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5),
    (b"S'old'\n.", "old"),
    (b"S'\\101\\7\\777'\n.", "A\x07\xff"),
    (b"S'\\d\\\\\\''\n.", "\\d\\'"),
    (b'S"o\\x41\\n"\n.', "oA\n"),
    (b"T\x03\x00\x00\x00abc.", "abc"),
    (b"U\x03abc.", "abc"),
    (b"U\x02\xc3\xa9.", "\xe9"),
    (b"U\x01\xe9.", "\xe9"),
    (b"U\x03\xff\xfe\x00.", "\xff\xfe\x00"),
    (b"Vab\\u00e9\n.", "ab\xe9"),
    (b"X\x02\x00\x00\x00\xc3\xa9.", "\xe9"),
    (b"X\x03\x00\x00\x00\xed\xb2\x80.", "\udc80"),
    (b"\x8c\x02ab.", "ab"),
    (b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab.", "ab"),
    (b"C\x02\x00\xff.", b"\x00\xff"),
    (b"B\x02\x00\x00\x00\x00\xff.", b"\x00\xff"),
    (b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00\xff.", b"\xff"),
    (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00\xff.", bytearray(b"\xff")),
    (b"X\x00\x00\x00\x00.", ""),
]


@pytest.mark.parametrize(("data", "value"), SCALARS)
def test_a_number_or_string_stands_for_itself(data: bytes, value: Any) -> None:
    found = read(data)
    assert found == value
    assert isinstance(found, type(value))


CONTAINERS = [
    (b"].", []),
    (b"(l.", []),
    (b"(K\x01K\x02l.", [1, 2]),
    (b"]K\x01a.", [1]),
    (b"](K\x01K\x02e.", [1, 2]),
    (b"](e.", []),
    (b").", ()),
    (b"(t.", ()),
    (b"(K\x01K\x02K\x03K\x04t.", (1, 2, 3, 4)),
    (b"K\x01\x85.", (1,)),
    (b"K\x01K\x02\x86.", (1, 2)),
    (b"K\x01K\x02K\x03\x87.", (1, 2, 3)),
    (b"}.", ("dict", [])),
    (b"(K\x01K\x02d.", ("dict", [(1, 2)])),
    (b"}K\x01K\x02s.", ("dict", [(1, 2)])),
    (b"}(K\x01K\x02K\x01K\x03u.", ("dict", [(1, 2), (1, 3)])),
    (b"}(u.", ("dict", [])),
    (b"}]K\x02s.", ("dict", [([], 2)])),
    (b"\x8f(K\x01K\x02\x90.", ("set", [1, 2])),
    (b"(K\x01\x91.", ("frozenset", [1])),
    (b"(K\x01K\x02\x91.", ("frozenset", [1, 2])),
    (b"K\x01K\x020.", 1),
    (b"K\x01(K\x02K\x031.", 1),
    (b"K\x01(0.", 1),
    (b"K\x012\x86.", (1, 1)),
    (b"\x80\x05\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01..", 1),
]


@pytest.mark.parametrize(("data", "value"), CONTAINERS[:-1])
def test_a_container_keeps_its_items_in_order_and_hashes_none(data: bytes, value: Any) -> None:
    assert shown(read(data)) == value


def test_a_frame_is_passed_over() -> None:
    assert read(b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.") == 1


CALLS = [
    (b"cos\nsystem\n.", ("global", "os.system")),
    (b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", ("global", "os.system")),
    (b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", ("reduce", ("global", "os.system"), ("ls",))),
    (b"ca\nB\n)\x81.", ("newobj", ("global", "a.B"), ())),
    (b"ca\nB\n)}\x92.", ("newobj_ex", ("global", "a.B"), ((), ("dict", [])))),
    (b"(K\x01ia\nB\n.", ("inst", ("global", "a.B"), (1,))),
    (b"(ca\nB\nK\x01o.", ("obj", ("global", "a.B"), (1,))),
    (b"ca\nB\n)\x81}b.", ("newobj", ("global", "a.B"), (), ("state", ("dict", [])))),
    (b"ca\nB\n)\x81Nb.", ("newobj", ("global", "a.B"), (), ("state", None))),
    (b"ca\nB\n)RK\x01a.", ("reduce", ("global", "a.B"), (), [1])),
    (b"ca\nB\n)R(K\x01K\x02e.", ("reduce", ("global", "a.B"), (), [1, 2])),
    (b"ca\nB\n)RK\x01K\x02s.", ("reduce", ("global", "a.B"), (), [(1, 2)])),
    (b"ca\nB\n)R(K\x01K\x02K\x03K\x04u.", ("reduce", ("global", "a.B"), (), [(1, 2), (3, 4)])),
    (b"ca\nB\n)R)R.", ("reduce", ("reduce", ("global", "a.B"), ()), ())),
    (b"K\x01Q.", ("persistent", 1)),
    (b"Pname\n.", ("persistent", "name")),
]


@pytest.mark.parametrize(("data", "value"), CALLS)
def test_a_call_stays_a_description(data: bytes, value: Any) -> None:
    assert shown(read(data)) == value


@pytest.mark.parametrize(
    "data",
    [b"]q\x00h\x00\x86.", b"]p0\ng0\n\x86.", b"]r\x00\x01\x00\x00j\x00\x01\x00\x00\x86.", b"]\x94h\x00\x86.", b"]2\x86."],
    ids=["binput", "put", "long_binput", "memoize", "dup"],
)
def test_an_object_named_twice_is_one_node(data: bytes) -> None:
    first, second = read(data)
    assert first is second


def test_a_list_may_hold_itself() -> None:
    node = read(b"]q\x00h\x00a.")
    assert node[0] is node


def test_a_tuple_may_hold_itself_through_a_list() -> None:
    node = read(b"]q\x00h\x00\x85q\x01a0h\x01.")
    assert node[0][0] is node


def test_equal_texts_which_the_pickle_tells_apart_are_two_objects() -> None:
    first, second = read(b"X\x01\x00\x00\x000X\x01\x00\x00\x000\x86.")
    assert first == second == "0"
    assert first is not second
    assert isinstance(first, Letter)


def test_a_text_which_the_pickle_names_twice_is_one_object() -> None:
    first, second = read(b"X\x01\x00\x00\x000q\x00h\x00\x86.")
    assert first is second


def test_several_pickles_in_a_row_are_read_one_after_the_other() -> None:
    data = b"K\x01.K\x02.K\x03."
    assert [read_pickle(data, offset) for offset in (0, 3, 6)] == [(1, 3), (2, 6), (3, 9)]


def test_lookup_takes_the_last_of_double_keys_and_only_strings() -> None:
    pairs = [("a", 1), ("a", 2), (1, 3), (["a"], 4)]
    assert lookup(pairs, "a") == 2
    assert lookup(pairs, "b") is ABSENT


BAD = [
    ("nothing", b"", CorruptError, "no STOP"),
    ("no stop", b"K\x01", CorruptError, "no STOP"),
    ("only stop", b".", CorruptError, "0 values"),
    ("two values", b"K\x01K\x02.", CorruptError, "2 values"),
    ("an open mark", b"K\x01(.", CorruptError, "open marks"),
    ("an unknown opcode", b"\xff.", CorruptError, "0xff"),
    ("text, no pickle", b"<!DOCTYPE html>", CorruptError, "no pickle opcode"),
    ("protocol 6", b"\x80\x06N.", CorruptError, "protocol 6"),
    ("cut after PROTO", b"\x80", CorruptError, "cut"),
    ("cut int", b"J\x01\x02", CorruptError, "cut"),
    ("cut float", b"G\x00", CorruptError, "cut"),
    ("cut string", b"X\x05\x00\x00\x00ab", CorruptError, "5 bytes wanted"),
    ("string longer than the file", b"X\xff\xff\xff\xffab.", CorruptError, "cut"),
    ("8-byte string length past any file", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", CorruptError, "cut"),
    ("bytes longer than the file", b"\x8e\x00\x00\x00\x00\x00\x01\x00\x00.", CorruptError, "cut"),
    ("a bytearray of 2**60 bytes", b"\x96" + (2**60).to_bytes(8, "little") + b".", CorruptError, "cut"),
    ("an int longer than the file", b"\x8b\x00\x01\x00\x00.", CorruptError, "cut"),
    ("an int of 16 million bytes", b"\x8b\x00\x00\x00\x01" + bytes(64), LimitError, "int of"),
    ("an int of 2**32 - 1 bytes", b"\x8b\xff\xff\xff\xff", LimitError, "int of"),
    ("an int of 5,000 digits", b"L" + b"9" * 5000 + b"\n.", CorruptError, "damaged"),
    ("a frame past the end", b"\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", CorruptError, "frame"),
    ("a line without an end", b"I12", CorruptError, "no end"),
    ("a line of 2 million bytes", b"V" + b"a" * 2_000_000 + b"\n.", CorruptError, "no end"),
    ("a decimal which is none", b"Ix\n.", CorruptError, "damaged"),
    ("a float which is none", b"Fx\n.", CorruptError, "damaged"),
    ("a STRING without quotes", b"Sabc\n.", CorruptError, "quotes"),
    ("a STRING with one quote", b"S'\n.", CorruptError, "quotes"),
    ("a STRING with different quotes", b"S'a\"\n.", CorruptError, "quotes"),
    ("no UTF-8", b"X\x01\x00\x00\x00\xff.", CorruptError, "damaged"),
    ("a global which is no UTF-8", b"c\xff\nb\n.", CorruptError, "damaged"),
    ("APPEND to nothing", b"K\x01a.", CorruptError, "empty stack"),
    ("APPEND to an int", b"K\x01K\x02a.", CorruptError, "appends to a int"),
    ("APPENDS without a mark", b"]K\x01e.", CorruptError, "MARK"),
    ("APPENDS to nothing", b"(K\x01e.", CorruptError, "empty stack"),
    ("SETITEM on a list", b"]K\x01K\x02s.", CorruptError, "sets keys of a list"),
    ("SETITEM without a value", b"}K\x01s.", CorruptError, "a"),
    ("SETITEMS of an odd number", b"}(K\x01u.", CorruptError, "without a value"),
    ("DICT of an odd number", b"(K\x01d.", CorruptError, "without a value"),
    ("ADDITEMS to a list", b"](K\x01\x90.", CorruptError, "adds to a list"),
    ("ADDITEMS to a frozenset", b"(\x91(K\x01\x90.", CorruptError, "adds to a Set"),
    ("TUPLE without a mark", b"K\x01t.", CorruptError, "MARK"),
    ("TUPLE1 of nothing", b"\x85.", CorruptError, "more values"),
    ("TUPLE3 of two", b"NN\x87.", CorruptError, "more values"),
    ("TUPLE2 across a mark", b"N(N\x86.", CorruptError, "more values"),
    ("POP of nothing", b"0.", CorruptError, "MARK"),
    ("POP_MARK without a mark", b"N1.", CorruptError, "MARK"),
    ("DUP of nothing", b"2.", CorruptError, "empty stack"),
    ("a memo which holds nothing", b"h\x00.", CorruptError, "memo"),
    ("a text memo which holds nothing", b"g7\n.", CorruptError, "memo"),
    ("a long memo which holds nothing", b"j\x00\x00\x00\xff.", CorruptError, "memo"),
    ("a memo number which is none", b"gx\n.", CorruptError, "damaged"),
    ("PUT of nothing", b"q\x00.", CorruptError, "empty stack"),
    ("PUT under a negative number", b"Np-1\n.", CorruptError, "out of order"),
    ("MEMOIZE of nothing", b"\x94.", CorruptError, "empty stack"),
    ("REDUCE of nothing", b"R.", CorruptError, "empty stack"),
    ("REDUCE with a list", b"ca\nb\n]R.", CorruptError, "arguments"),
    ("NEWOBJ with a dict", b"ca\nb\n}\x81.", CorruptError, "arguments"),
    ("NEWOBJ_EX with a tuple for keywords", b"ca\nb\n))\x92.", CorruptError, "tuple and dict"),
    ("OBJ of no class", b"(o.", CorruptError, "no class"),
    ("INST without a mark", b"ia\nb\n.", CorruptError, "MARK"),
    ("BUILD of a list", b"]Nb.", CorruptError, "state to a list"),
    ("BUILD of nothing", b"Nb.", CorruptError, "empty stack"),
    ("BUILD twice", b"ca\nB\n)\x81Nb}b.", UnsafeError, "already"),
    ("APPEND after BUILD", b"ca\nB\n)\x81NbNa.", UnsafeError, "already"),
    ("SETITEM after BUILD", b"ca\nB\n)\x81NbNNs.", UnsafeError, "already"),
    ("BUILD by a setter function", b"]q\x00ca\nset\nh\x00N\x86R0.", UnsafeError, "for what it does"),
    ("STACK_GLOBAL of numbers", b"K\x01K\x02\x93.", CorruptError, "no string"),
    ("STACK_GLOBAL of two lines", b"\x8c\x03a\nb\x8c\x01c\x93.", CorruptError, "two lines"),
    ("EXT1", b"\x82\x01.", UnsafeError, "extension"),
    ("EXT2", b"\x83\x01\x00.", UnsafeError, "extension"),
    ("EXT4", b"\x84\x01\x00\x00\x00.", UnsafeError, "extension"),
    ("NEXT_BUFFER", b"\x97.", UnsafeError, "buffer"),
    ("READONLY_BUFFER", b"N\x98.", UnsafeError, "buffer"),
    ("BINPERSID of nothing", b"Q.", CorruptError, "empty stack"),
    ("PERSID which is no ASCII", b"P\xff\n.", CorruptError, "damaged"),
    ("marks without end", b"(" * 20_000, LimitError, "nests"),
]


@pytest.mark.parametrize(("data", "error", "text"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_pickle_is_refused(data: bytes, error: type[SurgeryError], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        read_pickle(data)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_left_as_it_was(is_enabled: bool) -> None:
    try:
        (gc.enable if is_enabled else gc.disable)()
        read_pickle(b"N.")
        with pytest.raises(CorruptError):
            read_pickle(b"\xff")
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_cut_anywhere_is_corrupt(protocol: int) -> None:
    value = {"a": [1, 2.5, "text", None], "b": (True, b"x", 2**70), "c": {1, 2}, "d": collections.OrderedDict(e=1)}
    data = pickle.dumps(value, protocol)
    for end in range(len(data)):
        with pytest.raises(CorruptError):
            read_pickle(data[:end])


@pytest.mark.parametrize("opcode", [b"]", b"}", b")", b"N", b"2", b"K\x00", b"\x8f"])
def test_a_long_run_of_one_opcode_is_refused(opcode: bytes) -> None:
    with pytest.raises(SurgeryError):
        read_pickle(b"N" + opcode * 50_000)


def test_the_number_of_opcodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_surgeon.formats.pickle_reader._MAX_OPCODES", 100)
    assert read_pickle(b"N0" * 49 + b"N.")[0] is None
    with pytest.raises(LimitError, match="100 opcodes"):
        read_pickle(b"N0" * 50 + b"N.")


def test_a_tower_of_tuples_is_read_and_thrown_away_without_a_crash() -> None:
    node, _ = read_pickle(b"N" + b"\x85" * 200_000 + b".")
    assert type(node) is tuple
    del node


class _Canary:
    """Pickles as a call which makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_called(tmp_path: Path, protocol: int) -> None:
    node = read(pickle.dumps([_Canary(tmp_path / "canary")], protocol))
    assert shown(node[0].arguments) == (str(tmp_path / "canary"),)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_imported() -> None:
    before = set(sys.modules)
    for data in (b"cthis\ns\n.", b"(iantigravity\nfly\n.", b"\x8c\x0bimaplib_xyz\x8c\x01a\x93)R.", b"cnntplib\nNNTP\n)\x81}b."):
        read(data)
    assert set(sys.modules) == before


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=5)
        | st.frozensets(st.integers() | st.text(), max_size=4)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=30,
)


@given(PLAIN, st.integers(0, 5))
def test_plain_values_come_back_from_every_protocol(value: Any, protocol: int) -> None:
    try:
        data = pickle.dumps(value, protocol)
    except UnicodeEncodeError:
        return
    found = value_of(read(data), lambda _: None)
    assert _frozen(found) == _frozen(value)


def _frozen(value: Any) -> Any:
    """With types beside values, so that True is not 1."""
    if isinstance(value, list | tuple):
        return (type(value), [_frozen(item) for item in value])
    if isinstance(value, dict):
        return (dict, [(key, _frozen(item)) for key, item in value.items()])
    if isinstance(value, set | frozenset):
        return (type(value), value)
    return (type(value), value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        read_pickle(data)
    except SurgeryError:
        return


OPCODES = [bytes([code]) for code in ACTIONS]
ARGUMENTS = [b"", b"\x00", b"\x01a", b"1\n", b"a\nb\n", b"\x01\x00\x00\x00a", b"'a'\n"]


COMMON = [
    *(b"N", b")", b"(", b"t", b"\x85", b"\x86", b"\x87", b"R", b"Q", b"K\x07", b"h\x00", b"h\x01", b"h\x05", b"0", b"2", b"q\x00", b"\x94"),
    *(
        b"X%c\x00\x00\x00%b" % (len(raw), raw)
        for raw in (b"", b"a", b"ab", "\u00e9".encode(), "a\u4e2d".encode(), b"\xff\xfe", b"\xed\xa0\x80")
    ),
    *(b"r%c\x00\x00\x00" % index for index in (0, 1, 2, 3, 9)),
]


def ran(run: Callable[[Machine], Any], data: bytes) -> Any:
    """What a pickle comes to: its value and what was accounted for, or its error and the place."""
    machine = Machine(data, 0)
    try:
        return shown(run(machine)), machine.spent, machine.position
    except (SurgeryError, IndexError, ValueError) as error:
        return type(error), str(error), machine.position


def stepped(machine: Machine) -> Any:
    while not _step(machine):
        pass
    return _result(machine)


@given(st.lists(st.sampled_from(COMMON), max_size=40), st.sampled_from([b".", b"", b"N.", b"X\x09", b".    "]))
def test_opcodes_done_in_the_loop_do_what_their_actions_do(parts: list[bytes], end: bytes) -> None:
    data = b"".join(parts) + end
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ckpt_surgeon.formats.pickle_machine._FREE_MEMORY", 600)
        assert ran(_run, data) == ran(stepped, data)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_many_strings_and_tuples_is_the_same_in_the_loop_and_step_by_step(protocol: int) -> None:
    data = pickle.dumps([(f"key.{i}", (i, i + 1), (i,), (f"{i}", 1, 2, 3, None), collections.OrderedDict()) for i in range(500)], protocol)
    assert ran(_run, data) == ran(stepped, data)


@given(st.lists(st.tuples(st.sampled_from(OPCODES), st.sampled_from(ARGUMENTS)), max_size=25))
def test_any_run_of_opcodes_is_read_or_refused_and_nothing_else(parts: list[tuple[bytes, bytes]]) -> None:
    try:
        read_pickle(b"".join(code + argument for code, argument in parts) + b".")
    except SurgeryError:
        return
