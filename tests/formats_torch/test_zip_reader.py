"""The zip directory: what is read, and every way in which an archive can lie."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import packed, saved

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.zip_reader import Archive, read_archive


@dataclass(frozen=True)
class Made:
    """One record of a hand-made archive; what the directory says may differ from what the local header says."""

    name: bytes
    data: bytes = b"data"
    method: int = 0
    flags: int = 0
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_crc: int | None = None
    local_nbytes: int | None = None
    crc: int | None = None
    packed: int | None = None
    nbytes: int | None = None
    header: int | None = None
    signature: bytes = b"PK\1\2"
    local_signature: bytes = b"PK\3\4"
    extra: bytes = b""
    local_extra: bytes = b""

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        nbytes = len(self.data) if self.local_nbytes is None else self.local_nbytes
        crc = zlib.crc32(self.data) if self.local_crc is None else self.local_crc
        flags = self.flags if self.local_flags is None else self.local_flags
        method = self.method if self.local_method is None else self.local_method
        fields = (20, flags, method, 0, 0, crc, nbytes, nbytes, len(name), len(self.local_extra))
        return self.local_signature + struct.pack("<5H3L2H", *fields) + name + self.local_extra + self.data + self.descriptor()

    def descriptor(self) -> bytes:
        if not self.flags & 8:
            return b""
        sizes = (len(self.data) if given is None else given for given in (self.packed, self.nbytes))
        return struct.pack("<4s3L", b"PK\7\x08", zlib.crc32(self.data) if self.crc is None else self.crc, *sizes)

    def central(self, offset: int) -> bytes:
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        stored = len(self.data) if self.packed is None else self.packed
        nbytes = len(self.data) if self.nbytes is None else self.nbytes
        header = offset if self.header is None else self.header
        sizes = (crc, stored, nbytes, len(self.name), len(self.extra), 0, 0, 0, 0, header)
        return self.signature + struct.pack("<6H3L5H2L", 20, 20, self.flags, self.method, 0, 0, *sizes) + self.name + self.extra


@dataclass(frozen=True)
class MadeZip:
    """A hand-made archive; numbers of the end record may be set wrong."""

    records: tuple[Made, ...]
    count: int | None = None
    start: int | None = None
    nbytes: int | None = None
    disk: int = 0
    comment: bytes = b""
    tail: bytes = b""
    between: bytes = b""
    end64: bytes = field(default=b"")

    def write(self, folder: Path) -> Path:
        data, directory = b"", b""
        for record in self.records:
            directory += record.central(len(data))
            data += record.local()
        count = len(self.records) if self.count is None else self.count
        start = len(data) if self.start is None else self.start
        nbytes = len(directory) if self.nbytes is None else self.nbytes
        end = struct.pack("<4s4H2LH", b"PK\5\6", self.disk, 0, count, count, nbytes, start, len(self.comment))
        path = folder / "made.zip"
        path.write_bytes(data + directory + self.between + self.end64 + end + self.comment + self.tail)
        return path


def archive_of(path: Path) -> Archive:
    return read_archive(InputFile(str(path)).whole)


GOOD = Made(b"a/data.pkl")
OTHER = Made(b"a/data/0", b"0123456789")


def test_records_are_found_by_their_names_below_the_root(tmp_path: Path) -> None:
    archive = archive_of(MadeZip((GOOD, OTHER)).write(tmp_path))
    assert (archive.root, list(archive.records)) == ("a", ["data.pkl", "data/0"])
    assert (archive.read("data.pkl"), archive.read("data/0")) == (b"data", b"0123456789")


def test_a_span_is_where_the_bytes_lie(tmp_path: Path) -> None:
    path = MadeZip((GOOD, OTHER)).write(tmp_path)
    span = archive_of(path).span("data/0")
    assert span is not None
    assert path.read_bytes()[span.offset : span.offset + span.nbytes] == b"0123456789"


def test_what_torch_writes_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.ones(100), "b": torch.zeros(3)})
    archive = archive_of(path)
    with zipfile.ZipFile(path) as reference:
        assert {f"{archive.root}/{name}": archive.read(name) for name in archive.records} == {
            name: reference.read(name) for name in reference.namelist()
        }


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_python_writes_is_read(tmp_path: Path, method: int) -> None:
    records = {"r/data.pkl": b"abc" * 1000, "r/data/0": bytes(5000), "r/version": b"3\n"}
    archive = archive_of(packed(tmp_path, records, method))
    assert {f"r/{name}": archive.read(name) for name in archive.records} == records
    assert (archive.span("data/0") is None) == (method == zipfile.ZIP_DEFLATED)


def test_a_zip64_record_of_python_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wide.zip"
    with zipfile.ZipFile(path, "w") as writer, writer.open("r/data.pkl", "w", force_zip64=True) as record:
        record.write(b"abc")
    assert archive_of(path).read("data.pkl") == b"abc"


def test_folders_are_passed_over(tmp_path: Path) -> None:
    assert list(archive_of(packed(tmp_path, {"r/": b"", "r/data/": b"", "r/data/0": b"x"})).records) == ["data/0"]


def test_names_may_be_any_text(tmp_path: Path) -> None:
    assert list(archive_of(packed(tmp_path, {"r/données/日本": b"x"})).records) == ["données/日本"]


@pytest.mark.parametrize(
    ("record", "is_intact"),
    [(GOOD, True), (replace(GOOD, crc=1, local_crc=1), False), (replace(GOOD, flags=8, local_crc=0, local_nbytes=0), True)],
)
def test_a_checksum_tells_damage(tmp_path: Path, record: Made, is_intact: bool) -> None:
    archive = archive_of(MadeZip((record,)).write(tmp_path))
    assert archive.is_intact("data.pkl") is is_intact
    if is_intact:
        assert archive.read("data.pkl") == b"data"
        return
    with pytest.raises(CorruptError, match="checksum"):
        archive.read("data.pkl")


def _sized(nbytes: int) -> Made:
    return replace(GOOD, packed=nbytes, nbytes=nbytes, local_nbytes=nbytes)


BAD: list[tuple[str, MadeZip, type[SurgeryError], str]] = [
    ("no record at all", MadeZip(()), CorruptError, "root folder"),
    ("a record outside of a folder", MadeZip((Made(b"data.pkl"),)), CorruptError, "root folder"),
    ("two root folders", MadeZip((GOOD, Made(b"b/x"))), CorruptError, "root folder"),
    ("one name twice", MadeZip((GOOD, GOOD)), CorruptError, "two records of one name"),
    ("two names but for case", MadeZip((GOOD, Made(b"a/DATA.pkl"))), CorruptError, "two records of one name"),
    ("a name which leads up", MadeZip((Made(b"a/../b"),)), UnsafeError, "leads out"),
    ("a name which is only dots", MadeZip((Made(b"../a"),)), UnsafeError, "leads out"),
    ("a name with a dot segment", MadeZip((Made(b"a/./b"),)), UnsafeError, "leads out"),
    ("an absolute name", MadeZip((Made(b"/a/b"),)), UnsafeError, "leads out"),
    ("a name with an empty segment", MadeZip((Made(b"a//b"),)), UnsafeError, "leads out"),
    ("a name with a backslash", MadeZip((Made(b"a/b\\c"),)), UnsafeError, "leads out"),
    ("a name with a NUL", MadeZip((Made(b"a/b\0c"),)), UnsafeError, "leads out"),
    ("an empty name", MadeZip((Made(b""),)), UnsafeError, "leads out"),
    ("a name which is no UTF-8", MadeZip((Made(b"a/\xff"),)), CorruptError, "UTF-8"),
    ("an encrypted record", MadeZip((replace(GOOD, flags=1),)), UnsafeError, "encrypted"),
    ("an unknown method", MadeZip((replace(GOOD, method=12),)), CorruptError, "method 12"),
    ("a stored record of two sizes", MadeZip((replace(GOOD, packed=3),)), CorruptError, "sizes 3, 4"),
    ("another name in the local header", MadeZip((replace(GOOD, local_name=b"a/other.pk"),)), CorruptError, "differ in name"),
    ("a longer name in the local header", MadeZip((replace(GOOD, local_name=b"a/data.pkl2"),)), CorruptError, "differ in name"),
    ("another method in the local header", MadeZip((replace(GOOD, local_method=8),)), CorruptError, "flags or method"),
    ("other flags in the local header", MadeZip((replace(GOOD, local_flags=8),)), CorruptError, "flags or method"),
    ("another size in the local header", MadeZip((replace(GOOD, local_nbytes=5),)), CorruptError, "size or checksum"),
    ("another checksum in the local header", MadeZip((replace(GOOD, local_crc=5),)), CorruptError, "size or checksum"),
    ("no local header", MadeZip((replace(GOOD, local_signature=b"PK\0\0"),)), CorruptError, "name or place"),
    ("no central record", MadeZip((replace(GOOD, signature=b"PK\0\0"),)), CorruptError, "damaged"),
    ("a record past the end", MadeZip((replace(GOOD, header=10_000),)), CorruptError, "starts with 10000 bytes"),
    ("a record inside the directory", MadeZip((GOOD, replace(OTHER, header=50))), CorruptError, "6 bytes which are no record"),
    ("two records on the same bytes", MadeZip((GOOD, replace(OTHER, header=0))), CorruptError, "overlaps what follows"),
    ("a record which runs into the directory", MadeZip((_sized(90),)), CorruptError, "overlaps what follows"),
    ("a size of 4 GiB", MadeZip((_sized(2**32 - 2),)), CorruptError, "overlaps what follows"),
    ("more records than said", MadeZip((GOOD, OTHER), count=1), CorruptError, "more than its records"),
    ("fewer records than said", MadeZip((GOOD, OTHER), count=3), CorruptError, "does not fit"),
    ("60,000 records said", MadeZip((GOOD,), count=60_000), CorruptError, "does not fit"),
    ("a directory elsewhere", MadeZip((GOOD,), start=3), CorruptError, "ends at byte"),
    ("a directory past the end", MadeZip((GOOD,), start=2**32 - 2), CorruptError, "ends at byte"),
    ("a longer directory", MadeZip((GOOD,), nbytes=500), CorruptError, "ends at byte"),
    ("bytes after the directory", MadeZip((GOOD,), between=b"xx"), CorruptError, "ends at byte"),
    ("bytes after the end", MadeZip((GOOD,), tail=b"x"), CorruptError, "no directory at its end"),
    ("a comment", MadeZip((GOOD,), comment=b"hello"), CorruptError, "no directory at its end"),
    ("a second volume", MadeZip((GOOD,), disk=1), CorruptError, "volumes"),
    ("a locator to nowhere", MadeZip((GOOD,), end64=struct.pack("<4sLQL", b"PK\6\7", 0, 5, 1)), CorruptError, "zip64"),
    ("a zip64 extra block which is cut", MadeZip((replace(_sized(2**32 - 1), extra=b"\1\0\x10\0\1"),)), CorruptError, "extra field"),
    ("a header in the middle of a record", MadeZip((replace(GOOD, header=12), OTHER)), CorruptError, "starts with 12 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "error", "text"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_archive_is_refused(tmp_path: Path, made: MadeZip, error: type[SurgeryError], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        archive_of(made.write(tmp_path))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def _deflated(data: bytes, nbytes: int, *, broken: Callable[[bytes], bytes] = bytes) -> Made:
    machine = zlib.compressobj(wbits=-15)
    squeezed = broken(machine.compress(data) + machine.flush())
    base = Made(b"a/data.pkl", squeezed, method=8, crc=zlib.crc32(data), nbytes=nbytes, flags=8, local_crc=0, local_nbytes=0)
    return replace(base, packed=len(squeezed))


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (_deflated(b"x" * 1000, 999), "does not unpack"),
        (_deflated(b"x" * 1000, 1001), "does not unpack"),
        (_deflated(b"x" * 50_000_000, 1000), "does not unpack"),
        (_deflated(b"x" * 1000, 1000, broken=lambda data: data[:-2]), "does not unpack"),
        (_deflated(b"x" * 1000, 1000, broken=lambda data: data + b"more"), "does not unpack"),
        (_deflated(b"x" * 1000, 1000, broken=lambda data: b"\xff" + data[1:]), "unpack"),
    ],
    ids=["larger", "smaller", "a bomb", "cut", "followed", "damaged"],
)
def test_a_compressed_record_unpacks_to_its_size_or_not_at_all(tmp_path: Path, record: Made, text: str) -> None:
    with pytest.raises(CorruptError, match=text):
        archive_of(MadeZip((record,)).write(tmp_path)).read("data.pkl")


def test_a_compressed_record_of_the_right_size_is_unpacked(tmp_path: Path) -> None:
    assert archive_of(MadeZip((_deflated(b"x" * 1000, 1000),)).write(tmp_path)).read("data.pkl") == b"x" * 1000


def test_a_directory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckpt_surgeon.formats.zip_directory._MAX_DIRECTORY_BYTES", 50)
    with pytest.raises(LimitError, match="directory has"):
        archive_of(MadeZip((GOOD,)).write(tmp_path))


@pytest.mark.parametrize("nbytes", [0, 1, 21, 22, 50])
def test_a_file_too_short_for_an_archive_is_corrupt(tmp_path: Path, nbytes: int) -> None:
    path = tmp_path / "short.zip"
    path.write_bytes(b"PK\3\4" + bytes(nbytes))
    with pytest.raises(CorruptError, match="no directory"):
        archive_of(path)


def test_an_archive_cut_anywhere_is_corrupt(tmp_path: Path) -> None:
    data = saved(tmp_path, {"a": torch.ones(2)}).read_bytes()
    path = tmp_path / "cut.pt"
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(CorruptError):
            archive_of(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_an_archive_with_changed_bytes_is_read_or_refused_and_nothing_else(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = MadeZip((GOOD, OTHER, Made(b"a/v", b"3"))).write(tmp_path)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    path.write_bytes(data)
    try:
        archive = archive_of(path)
        for name in archive.records:
            archive.read(name)
    except SurgeryError:
        return
