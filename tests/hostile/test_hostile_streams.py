"""The five pickles of torch's older stream, each damaged in each way; and opcodes which ask for what no file may have."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from doors import assert_described, assert_refused
from hostile_files import ENVELOPED, MAGIC, beside, listed, mapping, number, older, text, whole, zipped

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError


def wide(value: int) -> bytes:
    return struct.pack("<Q", value)


# In place of, or before, an honest value: the answer, and what it says.
OPCODES: dict[str, tuple[bytes, type[SurgeryError], str]] = {
    "no opcode": (b"\xff", CorruptError, "0xff"),
    "a newline": (b"\n", CorruptError, "0x0a"),
    "an extension": (b"\x82\x01", UnsafeError, "extension registry"),
    "a wide extension": (b"\x83\x01\x00", UnsafeError, "extension registry"),
    "the widest extension": (b"\x84\x01\x00\x00\x00", UnsafeError, "extension registry"),
    "an out-of-band buffer": (b"\x97", UnsafeError, "out-of-band"),
    "a read-only buffer": (b"N\x98", UnsafeError, "out-of-band"),
    "protocol 6": (b"\x80\x06", CorruptError, "protocol 6"),
    "protocol 255": (b"\x80\xff", CorruptError, "protocol 255"),
    "a frame past the end": (b"\x95" + wide(2**20), CorruptError, "a frame of 1048576"),
    "a frame of 2**64 - 1": (b"\x95" + b"\xff" * 8, CorruptError, "frame"),
    "a text of 4 GB": (b"X\xff\xff\xff\xff", CorruptError, "4294967295 bytes wanted"),
    "a text of 2**63": (b"\x8d" + wide(2**63), CorruptError, "bytes wanted"),
    "bytes of 2**62": (b"\x8e" + wide(2**62), CorruptError, "bytes wanted"),
    "a bytearray of 2**60": (b"\x96" + wide(2**60), CorruptError, "bytes wanted"),
    "a bytearray of 2**64 - 1": (b"\x96" + b"\xff" * 8, CorruptError, "bytes wanted"),
    "a text of Python 2 of -1 bytes": (b"T\xff\xff\xff\xff", CorruptError, "bytes wanted"),
    "an int of 2**31 bytes": (b"\x8b\x00\x00\x00\x80", LimitError, "int of 2,147,483,648"),
    "an int of 100,000 bytes": (b"\x8b\xa0\x86\x01\x00" + b"\x01" * 100_000, LimitError, "int of 100,000"),
    "an int of 10,000 digits": (b"I" + b"1" * 10_000 + b"\n", CorruptError, "damaged"),
    "a long of 10,000 digits": (b"L" + b"1" * 10_000 + b"L\n", CorruptError, "damaged"),
    "a number which is none": (b"I0x10\n", CorruptError, "damaged"),
    "a float which is none": (b"F1,5\n", CorruptError, "damaged"),
    "a line without an end": (b"V" + b"a" * 1_100_000, CorruptError, "no end"),
    "a text which is no UTF-8": (b"\x8c\x02\xc3\x28", CorruptError, "damaged"),
    "an escape past Unicode": (b"V\\U00110000\n", CorruptError, "damaged"),
    "an escape which is cut": (b"S'\\x4'\n", CorruptError, "within an escape"),
    "a backslash at the end": (b"S'a\\'\n", CorruptError, "within an escape"),
    "a memo without end": (b"Nr\xff\xff\xff\xff", CorruptError, "out of order"),
    "a memo of 4,000 digits": (b"Np" + b"9" * 4000 + b"\n", CorruptError, "out of order"),
    "a negative memo": (b"Np-1\n", CorruptError, "out of order"),
    "a gap of the memo": (b"Nr\x00\x01\x00\x00h\x07", CorruptError, "value 7 of its memo, which holds none"),
    "a memo which holds nothing": (b"j\xff\xff\xff\xff", CorruptError, "holds none"),
    "a value for nothing": (b"(Na", CorruptError, "empty stack"),
    "a mark which was never set": (b"Nt", CorruptError, "MARK"),
    "a tuple across a mark": (b"N(N\x86", CorruptError, "more values"),
    "a key without a value": (b"}(Nu", CorruptError, "without a value"),
    "a state for a number": (b"NNb", CorruptError, "gives a state to a NoneType"),
    "a state for a dict": (b"}}b", CorruptError, "gives a state to a Dict"),
    "items for a tuple": (b")Na", CorruptError, "appends to a tuple"),
    "items for a dict": (b"}(NNe", CorruptError, "appends to a Dict"),
    "pairs for a list": (b"]NNs", CorruptError, "sets keys of a list"),
    "members for a list": (b"](N\x90", CorruptError, "adds to a list"),
    "a call with a list": (b"cos\nsystem\n]R", CorruptError, "a list for arguments"),
    "an object with a dict": (b"cos\nsystem\n}\x81", CorruptError, "a dict for arguments|a Dict for arguments"),
    "keywords which are a list": (b"cos\nsystem\n)]\x92", CorruptError, "no tuple and dict"),
    "an object of no class": (b"(o", CorruptError, "no class"),
    "a name of two numbers": (b"NN\x93", CorruptError, "no string"),
    "a name of two lines": (text("o\ns") + text("system") + b"\x93", CorruptError, "two lines"),
    "a name which no text can hold": (text("\ud800") + text("x") + b"\x93", CorruptError, "damaged"),
    "a name of 2,000 characters": (b"c" + b"m" * 2000 + b"\nx\n", LimitError, "2,001 characters"),
    "a persistent id of bytes": (b"P\xff\n", CorruptError, "damaged"),
    "20,000 marks": (b"(" * 20_000, LimitError, "nests deeper"),
}


@pytest.mark.parametrize("case", OPCODES)
def test_an_opcode_which_asks_too_much_is_refused_beside_the_weights(tmp_path: Path, case: str) -> None:
    code, error, says = OPCODES[case]
    (tmp_path / "x.pt").write_bytes(zipped(beside(code)))
    assert_refused(tmp_path / "x.pt", error, says)


HONEST = {"magic": number(MAGIC), "protocol": number(1001), "system": b"}", "root": ENVELOPED, "keys": listed(text("0"))}
DAMAGES = ["no opcode", "an extension", "an out-of-band buffer", "a text of 2**63", "an int of 2**31 bytes", "protocol 6"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", HONEST)
def test_each_of_the_five_pickles_is_refused_when_it_is_damaged(tmp_path: Path, part: str, damage: str) -> None:
    code, error, says = OPCODES[damage]
    (tmp_path / "x.pt").write_bytes(older(**{part: code + HONEST[part]}))
    # Without its first bytes it is no file of torch at all.
    assert_refused(tmp_path / "x.pt", *((CorruptError, "not written by torch") if part == "magic" else (error, says)))


@pytest.mark.parametrize("part", HONEST)
@pytest.mark.parametrize("protocol", range(6))
def test_each_of_the_five_pickles_may_have_any_protocol(tmp_path: Path, part: str, protocol: int) -> None:
    pickles = [
        whole(body if key != "root" else body.replace(b"tQ", b"NtQ"), protocol if key == part else 2) for key, body in HONEST.items()
    ]
    if protocol < 2:
        pickles[list(HONEST).index(part)] = pickles[list(HONEST).index(part)][2:]
    (tmp_path / "x.pt").write_bytes(b"".join(pickles) + struct.pack("<q", 6) + bytes(24))
    if part == "magic" and protocol < 2:
        assert_refused(tmp_path / "x.pt", CorruptError, "no known format")
        return
    assert list(assert_described(tmp_path / "x.pt")) == ["a", "b"]


WRONG: dict[str, tuple[dict[str, bytes], str]] = {
    "another magic number": ({"magic": number(MAGIC + 1)}, "not written by torch"),
    "another protocol": ({"protocol": number(1002)}, "protocol 1001"),
    "a protocol which is a text": ({"protocol": text("1001")}, "protocol 1001"),
    "keys which are a dict": ({"keys": mapping((text("0"), b"N"))}, "list of different names"),
    "keys which are a text": ({"keys": text("0")}, "list of different names"),
    "keys which are numbers": ({"keys": listed(number(0))}, "list of different names"),
    "a key twice": ({"keys": listed(text("0"), text("0"))}, "list of different names"),
    "keys of which each is a list": ({"keys": listed(listed())}, "list of different names"),
    "a key which no tensor names": ({"keys": listed(text("0"), text("1"))}, "no tensor names it"),
    "no keys": ({"keys": b"]", "tail": b""}, "'0' is not in the file"),
    "a storage of fewer elements": ({"tail": struct.pack("<q", 5) + bytes(20)}, "claims 24"),
    "a storage of -1 elements": ({"tail": struct.pack("<q", -1)}, "does not fit into the file"),
    "a storage of 2**62 elements": ({"tail": struct.pack("<q", 2**62)}, "does not fit into the file"),
    "a cut storage": ({"tail": struct.pack("<q", 6) + bytes(23)}, "does not fit into the file"),
    "no room for a length": ({"tail": bytes(7)}, "ends before storage"),
    "a byte too many": ({"tail": struct.pack("<q", 6) + bytes(25)}, "goes on for 1 bytes"),
    "a second file behind": ({"tail": struct.pack("<q", 6) + bytes(24) + older()}, "goes on for"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_stream_whose_parts_do_not_fit_is_refused(tmp_path: Path, case: str) -> None:
    parts, says = WRONG[case]
    (tmp_path / "x.pt").write_bytes(older(**parts))
    assert_refused(tmp_path / "x.pt", CorruptError, says)


def test_a_stream_cut_after_each_of_its_pickles_is_refused(tmp_path: Path) -> None:
    data = older()
    ends = [end for end in range(len(data)) if data[end - 1 : end] == b"." and data[end : end + 1] in (b"\x80", b"\x06")]
    assert len(ends) == 5
    for end in (0, 1, 10, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends)):
        (tmp_path / "x.pt").write_bytes(data[:end])
        assert_refused(tmp_path / "x.pt", CorruptError)
