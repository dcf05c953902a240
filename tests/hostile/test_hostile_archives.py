"""Zip archives which lie, through the public door; beside them those which look odd and are sound."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from doors import assert_described, assert_refused, assert_told, contents, invoke
from hostile_files import FLOATS, TABLE, Entry, archive, beside, descriptor, listed, number, raw, tensor, text, whole, zipped

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.opening import open_checkpoint

PICKLE = Entry("a/data.pkl", whole(TABLE))
STORAGE = Entry("a/data/0", FLOATS)
VERSION = Entry("a/version", b"3\n")


def described(data: bytes = FLOATS, **lies: object) -> Entry:
    """A storage whose sizes follow its bytes, as torch writes it."""
    return Entry("a/data/0", data, flags=8, descriptor=descriptor(data, **lies))


def described_later(entry: Entry) -> Entry:
    """The record with its sizes after its bytes."""
    sizes = struct.pack("<3L", zlib.crc32(entry.data), len(entry.packed), len(entry.data))
    return replace(entry, flags=8, descriptor=b"PK\7\x08" + sizes)


SENTINELS = {"nbytes": 0xFFFFFFFF, "packed": 0xFFFFFFFF}


def block(kind: int, data: bytes, nbytes: int | None = None) -> bytes:
    """A block of an extra field."""
    return struct.pack("<2H", kind, len(data) if nbytes is None else nbytes) + data


def wide(**sizes: int) -> Entry:
    """A storage whose directory entry has its sizes in a zip64 block."""
    numbers = struct.pack("<2Q", sizes.get("nbytes", 24), sizes.get("packed", 24))
    return Entry("a/data/0", FLOATS, extra=block(1, numbers), central=SENTINELS)


def stored(**parts: Any) -> bytes:
    """An archive whose one storage has these parts."""
    return archive(PICKLE, Entry("a/data/0", FLOATS, **parts), VERSION)


def beside_it(name: str, data: bytes = b"", **parts: Any) -> bytes:
    """A sound archive with one more record."""
    return archive(PICKLE, STORAGE, Entry(name, data, **parts), VERSION)


def both(**fields: int) -> dict[str, dict[str, int]]:
    """The same lie in the directory and in the header."""
    return {"local": fields, "central": fields}


def kind(mode: int) -> dict[str, int]:
    """The outer attributes of a file of this kind, as Unix writes them."""
    return {"by": 3 << 8, "outer": mode << 16}


def second_name(name: str) -> bytes:
    return block(0x7075, b"\1" + struct.pack("<L", zlib.crc32(name.encode())) + name.encode())


SOUND: dict[str, bytes] = {
    "plain records": archive(PICKLE, STORAGE, VERSION),
    "a data descriptor": archive(PICKLE, described(), VERSION),
    "a data descriptor of 8-byte sizes": archive(PICKLE, described(wide=True), VERSION),
    "a data descriptor without a signature": archive(PICKLE, described(signature=b""), VERSION),
    "a data descriptor at the end": archive(PICKLE, VERSION, described()),
    "a descriptor flag and true sizes": archive(
        PICKLE,
        Entry("a/data/0", FLOATS, flags=8, local={"crc": zlib.crc32(FLOATS), "packed": 24, "nbytes": 24}, descriptor=descriptor(FLOATS)),
    ),
    "zip64 end records": archive(PICKLE, STORAGE, end64={}),
    "zip64 end records alone": archive(
        PICKLE, STORAGE, end64={}, end={"here": 0xFFFF, "count": 0xFFFF, "nbytes": 0xFFFFFFFF, "start": 0xFFFFFFFF}
    ),
    "zip64 sizes": archive(PICKLE, wide()),
    "a compressed pickle": archive(Entry("a/data.pkl", whole(TABLE), method=8), STORAGE),
    "all compressed": archive(Entry("a/data.pkl", whole(TABLE), method=8), Entry("a/data/0", FLOATS, method=8)),
    "an archive's end among the weights": archive(Entry("a/data.pkl", whole(TABLE)), Entry("a/data/0", b"PK\5\6" + bytes(20))),
    "an archive within": archive(PICKLE, STORAGE, Entry("a/extra/x.zip", archive(PICKLE))),
    "a record of no bytes": beside_it("a/.data/serialization_id"),
    "a record of no bytes and a descriptor": beside_it("a/x", flags=8, descriptor=descriptor(b"")),
    "a record of no bytes and a descriptor of 8-byte sizes": beside_it("a/x", flags=8, descriptor=descriptor(b"", wide=True)),
    "a compressed record and its descriptor": archive(PICKLE, STORAGE, described_later(Entry("a/x", b"x" * 99, method=8))),
    "no checksums at all": archive(
        Entry("a/data.pkl", whole(TABLE), flags=8, central={"crc": 0}, descriptor=descriptor(whole(TABLE), crc=0)),
        Entry("a/data/0", FLOATS, flags=8, central={"crc": 0}, descriptor=descriptor(FLOATS, crc=0)),
    ),
    "zip64 sizes in both places": stored(
        extra=block(1, struct.pack("<2Q", 24, 24)), local_extra=block(1, struct.pack("<2Q", 24, 24)), **both(**SENTINELS)
    ),
    "zip64 place of a record": archive(
        Entry("a/data.pkl", whole(TABLE), extra=block(1, struct.pack("<Q", 0)), central={"header": 0xFFFFFFFF}), STORAGE
    ),
    "padding as torch writes it": stored(local_extra=block(int.from_bytes(b"FB", "little"), b"Z" * 37)),
    "padding of zeros": stored(local_extra=bytes(7), extra=bytes(3)),
    "a time in an extra field": stored(extra=block(0x5455, b"\1abcd"), local_extra=block(0x5455, b"\1abcd")),
    "the same name again in an extra field": stored(extra=second_name("a/data/0")),
    "a folder": beside_it("a/data/"),
    "a folder with the attributes of one": beside_it("a/code/", central={"by": 3 << 8, "outer": 0o40755 << 16 | 0x10}),
    "files with the attributes of files": stored(central=kind(0o100644)),
    "attributes without a kind": stored(central=kind(0o600)),
    "a comment on a record": stored(comment=b"best so far"),
    "versions of zip64 readers": stored(**both(version=45)),
    "a version of another system": stored(central={"version": 3 << 8 | 20}),
    "names in Unicode": beside_it("a/\u65e5\u672c/\xe9", flags=0x800),
    "names as old Macs write them": beside_it("a/e\u0301"),
    "a name with a colon": beside_it("a/epoch:5"),
    "a name with spaces and dots": beside_it("a/... x ../.hidden."),
    "a name of 1,024 bytes": beside_it("a/" + "x" * 1022),
    "a method's own flags": archive(Entry("a/data.pkl", whole(TABLE), method=8, flags=0x806, descriptor=b""), STORAGE),
    "the pickle last": archive(STORAGE, VERSION, PICKLE),
}

RECORDS = (("data.pkl", whole(TABLE)), ("data/0", FLOATS))


def moved(data: bytes, prefix: bytes | int) -> bytes:
    """An archive of two records after a prefix which is none, with every offset right."""
    front = bytes(prefix) if isinstance(prefix, int) else prefix
    front = b"PK\3\4" + front[4:]
    end = len(data) - 22
    start = int.from_bytes(data[end + 16 : end + 20], "little")
    directory, shifted = bytearray(data[start:end]), len(front)
    for position in (directory.index(b"PK\1\2"), directory.rindex(b"PK\1\2")):
        header = int.from_bytes(directory[position + 42 : position + 46], "little")
        directory[position + 42 : position + 46] = struct.pack("<L", header + shifted)
    return front + data[:start] + directory + data[end : end + 16] + struct.pack("<LH", start + shifted, 0)


def raw_deflated(change: Callable[[bytes], bytes], name: str = "a/data.pkl", data: bytes = RECORDS[0][1]) -> Entry:
    """A compressed record whose bytes were changed, and whose sizes are those of the changed bytes."""
    packed = change(Entry(name, data, method=8).packed)
    return Entry(name, packed, **both(method=8, packed=len(packed), nbytes=len(data), crc=zlib.crc32(data)))


BOMB = Entry("a/byteorder", bytes(300_000_000), method=8)
CLAIM = {"nbytes": 0xFFFFFFFF}

BAD: dict[str, tuple[bytes, type[SurgeryError]]] = {
    "a damaged pickle": (archive(Entry("a/data.pkl", whole(TABLE), central={"crc": 1}, local={"crc": 1}), STORAGE), CorruptError),
    "a pickle of another checksum in the directory": (
        archive(Entry("a/data.pkl", whole(TABLE), central={"crc": 1}), STORAGE),
        CorruptError,
    ),
    "a data descriptor of another checksum": (archive(PICKLE, described(crc=7), VERSION), CorruptError),
    "a data descriptor of another size": (archive(PICKLE, described(nbytes=25), VERSION), CorruptError),
    "a data descriptor of another 8-byte size": (archive(PICKLE, described(nbytes=25, wide=True), VERSION), CorruptError),
    "no data descriptor": (archive(PICKLE, Entry("a/data/0", FLOATS, flags=8), VERSION), CorruptError),
    "no data descriptor before the directory": (archive(PICKLE, Entry("a/data/0", FLOATS, flags=8)), CorruptError),
    "a data descriptor of half a length": (archive(PICKLE, Entry("a/data/0", FLOATS, flags=8, descriptor=b"PK\7\x08ab")), CorruptError),
    "sizes in both places which differ": (archive(PICKLE, Entry("a/data/0", FLOATS, local={"nbytes": 20, "packed": 20})), CorruptError),
    "two archives, the second appended": (archive(PICKLE, STORAGE) + archive(PICKLE, STORAGE), CorruptError),
    "an end record which is followed": (archive(PICKLE, STORAGE, tail=b"PK\5\6"), CorruptError),
    "a second end record": (archive(PICKLE, STORAGE, tail=archive()), CorruptError),
    "bytes before the first record": (b"PK\3\4" + archive(PICKLE, STORAGE), CorruptError),
    "a zip64 end which differs in its count": (archive(PICKLE, STORAGE, VERSION, end64={}, end={"count": 2, "here": 2}), CorruptError),
    "a zip64 end which differs in its place": (archive(PICKLE, STORAGE, end64={}, end={"start": 7}), CorruptError),
    "a zip64 end which differs in its size": (archive(PICKLE, STORAGE, end64={}, end={"nbytes": 7}), CorruptError),
    "a zip64 directory past the end": (archive(PICKLE, STORAGE, end64={"start": 2**63}), CorruptError),
    "a zip64 directory of 2**60 bytes": (archive(PICKLE, STORAGE, end64={"nbytes": 2**60, "start": 0}), CorruptError),
    "a zip64 end of 2**60 records": (archive(PICKLE, STORAGE, end64={"count": 2**60, "here": 2**60}), CorruptError),
    "a zip64 end of another length": (archive(PICKLE, STORAGE, end64={"size": 45}), CorruptError),
    "a zip64 size of 2**63 bytes": (archive(PICKLE, wide(nbytes=2**63, packed=2**63)), CorruptError),
    "a zip64 block without the second size": (
        archive(
            PICKLE, Entry("a/data/0", FLOATS, extra=struct.pack("<2HQ", 1, 8, 24), central={"nbytes": 0xFFFFFFFF, "packed": 0xFFFFFFFF})
        ),
        CorruptError,
    ),
    "a name folded by case": (archive(PICKLE, STORAGE, Entry("a/DATA/0", FLOATS)), CorruptError),
    "a name folded by Unicode": (archive(PICKLE, STORAGE, Entry("a/stra\xdfe", b""), Entry("a/STRASSE", b"")), CorruptError),
    "two pickles": (archive(PICKLE, PICKLE, STORAGE), CorruptError),
    "two roots": (archive(PICKLE, STORAGE, Entry("b/data.pkl", whole(beside(b"N")))), CorruptError),
    "a name which leads up": (archive(PICKLE, STORAGE, Entry("a/../../etc/passwd", b"")), UnsafeError),
    "an absolute name": (archive(PICKLE, STORAGE, Entry("/etc/passwd", b"")), UnsafeError),
    "a name of a drive": (archive(PICKLE, STORAGE, Entry("a\\..\\c", b"")), UnsafeError),
    "an encrypted pickle": (archive(Entry("a/data.pkl", whole(TABLE), flags=1), STORAGE), UnsafeError),
    "an unknown method": (archive(Entry("a/data.pkl", whole(TABLE), central={"method": 14}, local={"method": 14}), STORAGE), CorruptError),
    "a bomb for a byte order": (archive(PICKLE, STORAGE, BOMB), CorruptError),
    "a byte order of many bytes": (archive(PICKLE, STORAGE, Entry("a/byteorder", bytes(10_000))), CorruptError),
    "a compressed pickle larger than promised": (archive(Entry("a/data.pkl", whole(TABLE), method=8, nbytes=50), STORAGE), CorruptError),
    "a compressed pickle of 4 GiB": (
        archive(Entry("a/data.pkl", whole(TABLE), method=8, central=CLAIM, local=CLAIM), STORAGE),
        CorruptError,
    ),
    "a compressed storage beyond deflate's reach": (
        archive(Entry("a/data.pkl", whole(TABLE)), Entry("a/data/0", FLOATS, method=8, nbytes=10**9)),
        CorruptError,
    ),
    "a pickle which is a bomb": (archive(Entry("a/data.pkl", whole(bytes(600_000_000)), method=8), STORAGE), LimitError),
    "a program of TorchScript": (archive(PICKLE, STORAGE, Entry("a/constants.pkl", b"")), CorruptError),
    "no pickle": (archive(STORAGE), CorruptError),
    "nothing": (archive(), CorruptError),
    "two pickles in one record": (archive(Entry("a/data.pkl", whole(TABLE) + whole(b"N")), STORAGE), CorruptError),
    "a storage which lacks": (archive(PICKLE), CorruptError),
    "a storage beside the table which lacks": (zipped(beside(tensor(listed(text("x"))))), CorruptError),
    "a hole before the first record": (moved(archive(PICKLE, STORAGE), 8), CorruptError),
    "a record before the first": (moved(archive(PICKLE, STORAGE), Entry("a/x", b"hidden").local_header() + b"hidden"), CorruptError),
    "a hidden record between two": (stored(descriptor=Entry("a/data.pkl", b"").local_header()), CorruptError),
    "a hole between two records": (stored(descriptor=bytes(9)), CorruptError),
    "a hole after a descriptor": (archive(PICKLE, Entry("a/data/0", FLOATS, flags=8, descriptor=descriptor(FLOATS) + b"x")), CorruptError),
    "a hole before the directory": (archive(PICKLE, Entry("a/data/0", FLOATS, descriptor=bytes(9))), CorruptError),
    "a hole of a gigabyte claimed": (stored(**both(extra_nbytes=0xFFFF)), CorruptError),
    "a descriptor where none is said": (stored(descriptor=descriptor(FLOATS)), CorruptError),
    "a descriptor of another signature": (
        archive(PICKLE, Entry("a/data/0", FLOATS, flags=8, descriptor=descriptor(FLOATS, signature=b"PK\3\4"))),
        CorruptError,
    ),
    "one checksum which was not made": (
        archive(Entry("a/data.pkl", whole(TABLE), flags=8, central={"crc": 0}, descriptor=descriptor(whole(TABLE), crc=0)), STORAGE),
        CorruptError,
    ),
    "no checksums and no descriptors": (
        archive(Entry("a/data.pkl", whole(TABLE), **both(crc=0)), Entry("a/data/0", FLOATS, **both(crc=0))),
        CorruptError,
    ),
    "one record in the data of another": (
        archive(PICKLE, Entry("a/data/0", FLOATS), Entry("a/x", b"", central={"header": len(whole(TABLE)) + 45})),
        CorruptError,
    ),
    "two records on the same bytes": (archive(PICKLE, STORAGE, Entry("a/x", b"", central={"header": 0})), CorruptError),
    "a record longer than up to the next": (stored(**both(packed=60, nbytes=60)), CorruptError),
    "a record in the directory": (stored(central={"header": 400}), CorruptError),
    "another name in the header": (stored(local_name="a/data/1"), CorruptError),
    "a longer name in the header": (stored(local_name="a/data/00"), CorruptError),
    "another length of the name in the header": (stored(local={"name_nbytes": 4}), CorruptError),
    "another method in the header": (stored(local={"method": 8}), CorruptError),
    "other flags in the header": (stored(local={"flags": 0x800}), CorruptError),
    "another checksum in the header": (stored(local={"crc": 1}), CorruptError),
    "another size in the header": (stored(local={"nbytes": 23}), CorruptError),
    "a size in the header where zeros should be": (
        archive(PICKLE, Entry("a/data/0", FLOATS, flags=8, local={"packed": 23}, descriptor=descriptor(FLOATS))),
        CorruptError,
    ),
    "no header where one is said to be": (stored(local={"signature": b"PK\1\2"}), CorruptError),
    "no entry where one is said to be": (stored(central={"signature": b"PK\3\4"}), CorruptError),
    "another zip64 size in the header": (stored(local_extra=block(1, struct.pack("<2Q", 25, 25)), local=SENTINELS), CorruptError),
    "a zip64 size which is missing": (stored(**both(**SENTINELS)), CorruptError),
    "a zip64 size which nobody asks for": (stored(extra=block(1, struct.pack("<2Q", 48, 48))), CorruptError),
    "two zip64 blocks": (
        stored(extra=block(1, struct.pack("<2Q", 24, 24)) + block(1, struct.pack("<2Q", 48, 48)), central=SENTINELS),
        CorruptError,
    ),
    "a zip64 block of half a number": (stored(extra=block(1, b"\x18\0\0\0"), central=SENTINELS), CorruptError),
    "a zip64 place past the end": (stored(extra=block(1, struct.pack("<Q", 2**62)), central={"header": 0xFFFFFFFF}), CorruptError),
    "an extra block longer than its field": (stored(extra=block(0x5455, b"abc", nbytes=9)), CorruptError),
    "an extra block longer than its field in the header": (stored(local_extra=block(0x5455, b"abc", nbytes=9)), CorruptError),
    "an extra field longer than the directory": (stored(central={"extra_nbytes": 0xFFFF}), CorruptError),
    "a comment longer than the directory": (stored(central={"comment_nbytes": 0xFFFF}), CorruptError),
    "another name in an extra field": (stored(extra=second_name("a/data.pkl")), CorruptError),
    "another name in an extra field of the header": (stored(local_extra=second_name("a/data.pkl")), CorruptError),
    "an end record in a comment on a record": (archive(PICKLE, Entry("a/data/0", FLOATS, comment=archive())), CorruptError),
    "an end record in an extra field": (stored(extra=block(0x5455, archive())), CorruptError),
    "a comment on the archive": (archive(PICKLE, STORAGE, end={"comment_nbytes": 5}, tail=b"hello"), CorruptError),
    "a comment which is said and not there": (archive(PICKLE, STORAGE, end={"comment_nbytes": 5}), CorruptError),
    "a comment which is another archive": (archive(PICKLE, STORAGE, end={"comment_nbytes": 22}, tail=archive()), CorruptError),
    "another volume": (archive(PICKLE, STORAGE, end={"disk": 1}), CorruptError),
    "a directory on another volume": (archive(PICKLE, STORAGE, end={"first": 1}), CorruptError),
    "a record on another volume": (stored(central={"disk": 1}), CorruptError),
    "fewer records here than in all": (archive(PICKLE, STORAGE, end={"here": 1}), CorruptError),
    "a count of one too few": (archive(PICKLE, STORAGE, end={"here": 1, "count": 1}), CorruptError),
    "a count of one too many": (archive(PICKLE, STORAGE, end={"here": 3, "count": 3}), CorruptError),
    "a count of none": (archive(PICKLE, STORAGE, end={"here": 0, "count": 0}), CorruptError),
    "a directory of a byte too few": (archive(PICKLE, STORAGE, end={"nbytes": 107}), CorruptError),
    "a directory which starts at 0": (archive(PICKLE, STORAGE, end={"start": 0}), CorruptError),
    "sentinels without zip64 end records": (
        archive(PICKLE, STORAGE, end={"here": 0xFFFF, "count": 0xFFFF, "nbytes": 0xFFFFFFFF, "start": 0xFFFFFFFF}),
        CorruptError,
    ),
    "a zip64 end on another volume": (archive(PICKLE, STORAGE, end64={"disk": 1}), CorruptError),
    "a locator and no zip64 end": (
        b"PK\3\4" + struct.pack("<4sLQL", b"PK\6\7", 0, 4, 1) + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 24, 0),
        CorruptError,
    ),
    "a second entry where the directory ends": (
        archive(PICKLE, Entry("a/data/0", FLOATS, comment=bytes(60)), end={"count": 3, "here": 3}),
        CorruptError,
    ),
    "a zip64 end of another signature": (archive(PICKLE, STORAGE, end64={"signature": b"PK\5\6"}), CorruptError),
    "a name folded by Unicode's forms": (archive(PICKLE, Entry("a/\xe9", b""), Entry("a/e\u0301", b""), STORAGE), CorruptError),
    "a name folded by Unicode's compatible forms": (archive(PICKLE, Entry("a/data/\uff10", FLOATS), STORAGE), CorruptError),
    "a file and a folder of one name": (beside_it("a/data/0/"), CorruptError),
    "a name which is no UTF-8": (beside_it("a/\udcff"), CorruptError),
    "a name of 2,000 bytes": (beside_it("a/" + "x" * 2000), LimitError),
    "an empty name": (beside_it(""), UnsafeError),
    "a name which is the root of all": (beside_it("/"), UnsafeError),
    "a name with a NUL": (beside_it("a/data.pkl\0x"), UnsafeError),
    "a name with an empty part": (beside_it("a//x"), UnsafeError),
    "a name with a dot for a part": (beside_it("a/./data.pkl"), UnsafeError),
    "a name which leads up at its end": (beside_it("a/x/.."), UnsafeError),
    "a root which leads up": (archive(*(Entry(f"../{name}", data) for name, data in RECORDS)), UnsafeError),
    "a root which is a drive": (archive(*(Entry(f"c:/{name}", data) for name, data in RECORDS)), UnsafeError),
    "a drive within": (beside_it("a/C:/x"), UnsafeError),
    "no root": (archive(*(Entry(name, data) for name, data in RECORDS)), CorruptError),
    "a record beside the root": (beside_it("x"), CorruptError),
    "a folder beside the root": (beside_it("b/"), CorruptError),
    "a link": (beside_it("a/x", b"/etc/passwd", central=kind(0o120777)), UnsafeError),
    "a pickle which is a link": (archive(Entry("a/data.pkl", whole(TABLE), central=kind(0o120777)), STORAGE), UnsafeError),
    "a device": (beside_it("a/x", central=kind(0o060600)), UnsafeError),
    "a FIFO": (beside_it("a/x", central=kind(0o010600)), UnsafeError),
    "a folder with bytes": (beside_it("a/x/", b"bytes"), CorruptError),
    "a strongly encrypted storage": (stored(flags=0x41), UnsafeError),
    "a strong encryption's flag alone": (stored(flags=0x40), UnsafeError),
    "masked headers": (stored(flags=0x2000), UnsafeError),
    "a patch": (stored(flags=0x20), CorruptError),
    "a version which nobody knows": (stored(central={"version": 64}), CorruptError),
    "a version which nobody knows in the header": (stored(local={"version": 255}), CorruptError),
    **{f"method {method}": (stored(**both(method=method)), CorruptError) for method in (1, 6, 9, 12, 14, 93, 95, 98, 99)},
    "a stored record of two sizes": (stored(**both(nbytes=25)), CorruptError),
    "a compressed pickle which is cut": (archive(raw_deflated(lambda packed: packed[:-3]), STORAGE), CorruptError),
    "a compressed pickle which goes on": (archive(raw_deflated(lambda packed: packed + b"more"), STORAGE), CorruptError),
    "a compressed pickle which is damaged": (archive(raw_deflated(lambda packed: b"\xff" + packed[1:]), STORAGE), CorruptError),
    "a compressed pickle of another checksum": (
        archive(Entry("a/data.pkl", whole(TABLE), method=8, **both(crc=1)), STORAGE),
        CorruptError,
    ),
    "a folder for a pickle": (archive(Entry("a/data.pkl/", b""), STORAGE), CorruptError),
    "a pickle in a folder below": (archive(Entry("a/b/data.pkl", whole(TABLE)), Entry("a/b/data/0", FLOATS)), CorruptError),
    "a name of control characters": (archive(PICKLE, STORAGE, Entry("a/../\x1b[31m\n", b"")), UnsafeError),
    "bytes of 4 GiB in the pickle": (zipped(beside(b"\x8e" + struct.pack("<Q", 2**32) + b"x")), CorruptError),
    "a bytearray of 2**62 bytes": (zipped(beside(b"\x96" + struct.pack("<Q", 2**62) + b"x")), CorruptError),
    "an int of 4 GiB": (zipped(beside(b"\x8b\xff\xff\xff\xff")), LimitError),
    "an int of 65 KB": (zipped(beside(number(1 << (8 * 66_000)))), LimitError),
    "a frame past the end": (zipped(beside(b"\x95" + struct.pack("<Q", 2**40))), CorruptError),
    "a bad opcode in bytes which are none": (zipped(beside(raw(b"ab") + b"\xff")), CorruptError),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_archive_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.pt").write_bytes(SOUND[name])
    assert list(assert_described(tmp_path / "x.pt").tensors) == ["a", "b"]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_archive_is_carried_over(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "x.pt", tmp_path / "y.safetensors"
    source.write_bytes(SOUND[name])
    done = invoke("remap", str(source), "-o", str(out))
    assert (done.exit_code, done.stderr) == (0, "")
    with open_checkpoint(str(source)) as before, open_checkpoint(str(out)) as after:
        assert all(torch.equal(before.read(key), after.read(key)) for key in ("a", "b"))


@pytest.mark.parametrize("name", BAD)
def test_a_lying_archive_is_refused(tmp_path: Path, name: str) -> None:
    data, error = BAD[name]
    (tmp_path / "x.pt").write_bytes(data)
    assert_refused(tmp_path / "x.pt", error)


def storage_of(change: Callable[[bytes], bytes]) -> bytes:
    return archive(PICKLE, raw_deflated(change, "a/data/0", FLOATS))


DAMAGED: dict[str, bytes] = {
    "a storage of another checksum": stored(**both(crc=1)),
    "a storage without a checksum among others": archive(
        PICKLE, Entry("a/data/0", FLOATS, flags=8, central={"crc": 0}, descriptor=descriptor(FLOATS, crc=0))
    ),
    "a compressed storage which is not": stored(**both(method=8)),
    "a compressed storage of another checksum": stored(method=8, **both(crc=1)),
    "a compressed storage which is cut": storage_of(lambda packed: packed[:-3]),
    "a compressed storage which goes on": storage_of(lambda packed: packed + b"more"),
    "a compressed storage of more bytes": storage_of(lambda _: Entry("", FLOATS * 9, method=8).packed),
    "a compressed storage of fewer bytes": storage_of(lambda _: Entry("", FLOATS[:23], method=8).packed),
    "a compressed storage of very many bytes": storage_of(lambda _: Entry("", bytes(50_000_000), method=8).packed),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_storage_which_lies_is_refused_when_it_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.pt").write_bytes(DAMAGED[name])
    assert list(assert_described(tmp_path / "x.pt").tensors) == ["a", "b"]
    for out in ("out.pt", "out.safetensors", "out"):
        assert_told(invoke("remap", str(tmp_path / "x.pt"), "-o", str(tmp_path / out), "--check"), CorruptError)
    assert contents(tmp_path) == ["x.pt"]
