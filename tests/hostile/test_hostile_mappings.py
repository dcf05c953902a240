"""Keys and containers of tables which lie or are odd: no key stands twice, none is hashed but texts, a class is only a name."""

from __future__ import annotations

from pathlib import Path

import pytest
from doors import assert_described, assert_refused, invoke
from hostile_files import (
    EMPTY_ORDERED,
    TABLE,
    beside,
    called,
    listed,
    mapping,
    name,
    number,
    raw,
    sequence,
    tensor,
    text,
    zipped,
)
from hostile_pickles import attack

from ckpt_surgeon.errors import CorruptError, SurgeryError, UnsafeError

ITEMS = b"(" + text("a") + tensor() + text("b") + tensor() + b"u"
NEW = b")\x81"
OLD_TABLE = called("copy_reg._reconstructor", name("gone.Table"), name("__builtin__.dict"), b"}")


def keyed(*keys: bytes) -> bytes:
    """A table with a tensor under each key."""
    return mapping(*((key, tensor()) for key in keys))


def encoded(value: str, encoding: bytes = text("latin1")) -> bytes:
    """Bytes as protocol 2 holds them."""
    return called("_codecs.encode", text(value), encoding)


# What honest writers, old and odd ones, make: the keys of the table.
READ: dict[str, tuple[bytes, list[str]]] = {
    "a dict": (keyed(text("a"), text("b")), ["a", "b"]),
    "no tensors at all": (b"}", []),
    "control characters": (keyed(text("a\0b"), text("\x1b[31mred"), text("c\nd"), text("\x7f")), ["a\0b", "\x1b[31mred", "c\nd", "\x7f"]),
    "a lone surrogate": (keyed(text("\ud800")), ["\ud800"]),
    "right to left": (keyed(text("\u202eabc"), text("\u2066x\u2069")), ["\u202eabc", "\u2066x\u2069"]),
    "an empty key": (keyed(text("")), [""]),
    "names of paths": (keyed(text("../a"), text("/etc/passwd"), text("a\\b")), ["../a", "/etc/passwd", "a\\b"]),
    "nothing but dots": (keyed(text("."), text(".."), text("a..b")), [".", "..", "a..b"]),
    "keys which differ in case": (keyed(text("A"), text("a")), ["A", "a"]),
    "keys which look alike": (keyed(text("\u0430"), text("a"), text("e\u0301"), text("\u00e9")), ["\u0430", "a", "e\u0301", "\u00e9"]),
    "a very long key": (keyed(text("k" * 100_000)), ["k" * 100_000]),
    "bytes": (keyed(raw(b"a"), raw(b"\xff")), ["a", "\xff"]),
    "bytes of protocol 2": (keyed(encoded("a"), encoded("\xff"), name("__builtin__.bytes") + b")R"), ["a", "\xff", ""]),
    "texts of protocol 0": (keyed(b"Va\\u00e9\n", b"S'b\\'\\x41'\n"), ["a\xe9", "b'A"]),
    "an OrderedDict": (EMPTY_ORDERED + ITEMS, ["a", "b"]),
    "an OrderedDict by its class": (name("collections.OrderedDict") + NEW + ITEMS, ["a", "b"]),
    "an OrderedDict of Python 2": (called("collections.OrderedDict", listed(listed(text("a"), tensor()))), ["a"]),
    "an OrderedDict of a dict": (called("collections.OrderedDict", keyed(text("a"))), ["a"]),
    "an OrderedDict with attributes": (EMPTY_ORDERED + ITEMS + mapping((text("note"), text("x"))) + b"b", ["a", "b"]),
    "an OrderedDict with slots": (EMPTY_ORDERED + ITEMS + sequence(b"N", mapping((text("x"), b"N"))) + b"b", ["a", "b"]),
    "a defaultdict": (called("collections.defaultdict", name("__builtin__.list")) + ITEMS, ["a", "b"]),
    "a class which is gone": (name("gone.Table") + b")R" + ITEMS, ["a", "b"]),
    "a class of protocol 2 which is gone": (name("gone.Table") + NEW + ITEMS + mapping((text("x"), b"N")) + b"b", ["a", "b"]),
    "a class of protocol 0 which is gone": (OLD_TABLE + ITEMS, ["a", "b"]),
    "an instance of Python 2": (b"(igone\nTable\n" + ITEMS, ["a", "b"]),
    "a table which holds itself": (b"}q\x07" + ITEMS + text("me") + b"h\x07s", ["a", "b", "me"]),
    "a table in a table": (mapping((text("a"), tensor()), (text("b"), tensor()), (text("c"), keyed(text("d")))), ["a", "b", "c"]),
    "mostly values": (mapping((text("a"), tensor()), (text("x"), b"N"), (text("y"), number(2))), ["a", "x", "y"]),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_an_odd_but_honest_table_is_read_and_shown_in_printable_lines(tmp_path: Path, case: str) -> None:
    body, keys = READ[case]
    (tmp_path / "x.pt").write_bytes(zipped(body))
    assert list(assert_described(tmp_path / "x.pt")) == keys
    shown = invoke("inspect", str(tmp_path / "x.pt")).stdout
    assert all(line.isprintable() for line in shown.splitlines())


# What cannot be a table, or not this one: the answer, and what it says.
REFUSED: dict[str, tuple[bytes, type[SurgeryError], str]] = {
    "a key twice": (keyed(text("a"), text("a")), CorruptError, "key 'a' twice"),
    "a key twice, once as bytes": (keyed(text("a"), raw(b"a")), CorruptError, "key 'a' twice"),
    "a key twice by two opcodes": (keyed(text("a")) + text("a") + tensor() + b"s", CorruptError, "key 'a' twice"),
    "a key twice in an OrderedDict": (EMPTY_ORDERED + ITEMS + ITEMS, CorruptError, "key 'a' twice"),
    "a key in and after the arguments": (
        called("collections.OrderedDict", listed(listed(text("a"), tensor()))) + ITEMS,
        CorruptError,
        "key 'a' twice",
    ),
    "two tables of one name": (mapping((text("state_dict"), TABLE), (text("state_dict"), TABLE)), CorruptError, "'state_dict' twice"),
    "two values of one name": (
        mapping((text("state_dict"), TABLE), (text("epoch"), number(1)), (text("epoch"), number(2))),
        CorruptError,
        "'epoch' twice",
    ),
    "numbers for keys": (keyed(number(0), number(1)), CorruptError, "the key 0, which is no string"),
    "one number among keys": (keyed(text("a"), text("b"), number(0)), CorruptError, "the key 0, which is no string"),
    "None for a key": (keyed(b"N", text("a")), CorruptError, "the key None"),
    "True for a key": (keyed(b"\x88", text("a")), CorruptError, "the key True"),
    "a float for a key": (keyed(b"G" + bytes(8), text("a")), CorruptError, r"the key 0\.0"),
    "a tuple for a key": (keyed(sequence(text("a"), number(1))), CorruptError, "the key tuple of 2"),
    "a list for a key": (keyed(listed()), CorruptError, "the key list of 0"),
    "a dict for a key": (keyed(b"}", text("a")), CorruptError, "the key dict of 0"),
    "a set for a key": (keyed(b"\x8f", text("a")), CorruptError, "the key set of 0"),
    "a tensor for a key": (keyed(tensor(), text("a")), CorruptError, r"the key torch\._utils\._rebuild_tensor_v2"),
    "a class for a key": (keyed(name("gone.Key"), text("a")), CorruptError, r"the key gone\.Key"),
    "a table for its own key": (b"}q\x07" + b"h\x07" + tensor() + b"s", CorruptError, "the key dict of 1"),
    "bytes in another encoding": (keyed(encoded("a", text("rot13"))), CorruptError, r"the key _codecs\.encode"),
    "bytes which are none": (keyed(encoded("\u1234")), CorruptError, r"the key _codecs\.encode"),
    "an encoding which is none": (keyed(encoded("a", number(1))), CorruptError, r"the key _codecs\.encode"),
    "a tensor alone": (tensor(), CorruptError, "a single tensor"),
    "a list of tensors": (listed(tensor(), tensor()), CorruptError, "list of 2, tensors without names"),
    "a tuple of tensors": (sequence(tensor()), CorruptError, "tuple of 1, tensors without names"),
    "a number": (number(3), CorruptError, "it holds 3"),
    "nothing": (b"N", CorruptError, "it holds None"),
    "a class": (name("gone.Net"), CorruptError, r"it holds gone\.Net"),
    "a set of tensors": (b"\x8f(" + tensor() + b"\x90", CorruptError, "it holds set of 1"),
    "an OrderedDict of lone keys": (called("collections.OrderedDict", listed(listed(text("a")))), CorruptError, "no table"),
    "an OrderedDict of two arguments": (called("collections.OrderedDict", listed(), listed()), CorruptError, "no table"),
    "an OrderedDict of a text": (called("collections.OrderedDict", text("ab")) + ITEMS, UnsafeError, "what collections.OrderedDict made"),
    "what a function made": (called("gone.table", text("x")) + ITEMS, UnsafeError, r"\(root\) is what gone.table made"),
    "what a function made, in an envelope": (
        mapping((text("state_dict"), called("gone.table", text("x")) + ITEMS), (text("epoch"), number(1))),
        UnsafeError,
        "state_dict is what gone.table made",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_lying_table_is_refused(tmp_path: Path, case: str) -> None:
    body, error, says = REFUSED[case]
    (tmp_path / "x.pt").write_bytes(zipped(body))
    assert_refused(tmp_path / "x.pt", error, says)


def test_what_a_command_is_filled_with_is_no_table(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "x.pt"
    for body in (attack(str(canary)) + ITEMS, mapping((text("model"), attack(str(canary)) + ITEMS))):
        path.write_bytes(zipped(body))
        assert_refused(path, UnsafeError, r"os\.system")
    path.write_bytes(zipped(beside(attack(str(canary)) + ITEMS)))
    assert list(assert_described(path)) == ["a", "b"]
    assert not canary.exists()
