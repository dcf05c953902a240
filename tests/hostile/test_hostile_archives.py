"""Zip archives which lie, through the public door; beside them those which look odd and are sound."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from doors import assert_described, assert_refused
from hostile_files import FLOATS, TABLE, Entry, archive, beside, descriptor, listed, number, raw, tensor, text, whole, zipped

from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError

PICKLE = Entry("a/data.pkl", whole(TABLE))
STORAGE = Entry("a/data/0", FLOATS)
VERSION = Entry("a/version", b"3\n")


def described(data: bytes = FLOATS, **lies: object) -> Entry:
    """A storage whose sizes follow its bytes, as torch writes it."""
    return Entry("a/data/0", data, flags=8, descriptor=descriptor(data, **lies))


def wide(**sizes: int) -> Entry:
    """A storage whose directory entry has its sizes in a zip64 block."""
    block = struct.pack("<2H2Q", 1, 16, sizes.get("nbytes", 24), sizes.get("packed", 24))
    return Entry("a/data/0", FLOATS, extra=block, central={"nbytes": 0xFFFFFFFF, "packed": 0xFFFFFFFF})


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
    "a record of no bytes": archive(PICKLE, STORAGE, Entry("a/.data/serialization_id", b"")),
}

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


@pytest.mark.parametrize("name", BAD)
def test_a_lying_archive_is_refused(tmp_path: Path, name: str) -> None:
    data, error = BAD[name]
    (tmp_path / "x.pt").write_bytes(data)
    assert_refused(tmp_path / "x.pt", error)
