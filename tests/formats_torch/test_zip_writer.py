"""The zip writer: what every reader of zip files, and torch's own, makes of its archives."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import packed

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.formats.zip_reader import read_archive
from ckpt_surgeon.formats.zip_writer import ZipLayout, ZipWriter
from ckpt_surgeon.output_file import OutputFile


def written(path: Path, records: dict[str, bytes]) -> ZipLayout:
    layout = ZipLayout([(name, len(data)) for name, data in records.items()])
    with OutputFile(str(path)) as output:
        writer = ZipWriter(output, layout)
        for data in records.values():
            writer.write([data])
        writer.finish()
    return layout


RECORDS = {"data.pkl": b"abc", "byteorder": b"little", "data/0": bytes(range(256)) * 5, "data/1": b"", "version": b"3\n"}


def test_every_record_is_read_back_by_python(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", RECORDS)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {f"archive/{name}": data for name, data in RECORDS.items()}


def test_every_record_is_read_back_by_our_reader(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", RECORDS)
    archive = read_archive(InputFile(str(tmp_path / "a.pt")).whole)
    assert {name: archive.read(name) for name in archive.records} == RECORDS


def test_every_record_is_read_back_by_torch(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", RECORDS)
    reader = torch._C.PyTorchFileReader(str(tmp_path / "a.pt"))
    assert {name: reader.get_record(name) for name in reader.get_all_records()} == RECORDS


def test_the_command_of_python_finds_no_fault(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", RECORDS)
    done = subprocess.run([sys.executable, "-m", "zipfile", "-t", str(tmp_path / "a.pt")], capture_output=True, text=True, check=True)
    assert done.stdout == "Done testing\n"


def test_every_record_starts_at_a_multiple_of_64_bytes(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", {f"{'x' * count}/y": b"z" * count for count in range(1, 130)})
    archive = read_archive(InputFile(str(tmp_path / "a.pt")).whole)
    assert {record.offset % 64 for record in archive.records.values()} == {0}


def test_the_padding_is_that_of_torch(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "archive.pt")
    with zipfile.ZipFile(tmp_path / "archive.pt") as archive:
        records = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
        torch_offsets = [info.header_offset for info in archive.infolist()]
    written(tmp_path / "ours.pt", records)
    with zipfile.ZipFile(tmp_path / "ours.pt") as archive:
        assert [info.header_offset for info in archive.infolist()] == torch_offsets


def test_the_size_is_known_before_the_bytes(tmp_path: Path) -> None:
    layout = written(tmp_path / "a.pt", RECORDS)
    assert layout.nbytes == (tmp_path / "a.pt").stat().st_size


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        written(tmp_path / name, RECORDS)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_parts_and_ranges_of_files_make_one_record(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"0123456789")
    source = InputFile(str(tmp_path / "source"))
    layout = ZipLayout([("x", 9)])
    with OutputFile(str(tmp_path / "a.pt")) as output:
        writer = ZipWriter(output, layout)
        writer.write([b"ab", FileRange(source, 3, 4), bytearray(b"c"), memoryview(b"de")])
        writer.finish()
    assert read_archive(InputFile(str(tmp_path / "a.pt")).whole).read("x") == b"ab3456cde"


@pytest.mark.parametrize("data", [b"", b"ab", b"abcd"])
def test_a_record_of_another_size_than_promised_is_an_error(tmp_path: Path, data: bytes) -> None:
    with OutputFile(str(tmp_path / "a.pt")) as output, pytest.raises(ValueError, match="3 were promised"):
        ZipWriter(output, ZipLayout([("x", 3)])).write([data])


def test_a_missing_record_is_an_error(tmp_path: Path) -> None:
    with OutputFile(str(tmp_path / "a.pt")) as output, pytest.raises(ValueError, match="0 of 1"):
        ZipWriter(output, ZipLayout([("x", 3)])).finish()


def test_70_000_records_need_zip64_and_are_read(tmp_path: Path) -> None:
    layout = written(tmp_path / "many.pt", {f"data/{index}": b"" for index in range(70_000)})
    assert layout.nbytes == (tmp_path / "many.pt").stat().st_size
    assert len(read_archive(InputFile(str(tmp_path / "many.pt")).whole).records) == 70_000
    with zipfile.ZipFile(tmp_path / "many.pt") as archive:
        assert len(archive.namelist()) == 70_000


def test_a_layout_of_many_gigabytes_takes_zip64_fields() -> None:
    small = ZipLayout([("data/0", 2**32 - 2)])
    large = ZipLayout([("data/0", 2**32)])
    wider = (large.nbytes - 2**32) - (small.nbytes - (2**32 - 2))
    assert wider % 64 == (8 + 20) % 64  # a wider descriptor, two sizes in the directory; the rest is padding
    after = ZipLayout([("data/0", 2**33), ("data/1", 4)])
    assert after.entries[1].header >= 2**33


@pytest.mark.slow
def test_records_past_4_gigabytes_are_read_back(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        os.truncate(file.fileno(), 2**32 + 64)
    source = InputFile(str(tmp_path / "sparse"))
    layout = ZipLayout([("data/0", source.nbytes), ("data/1", 3), ("version", 2)])
    with OutputFile(str(tmp_path / "a.pt")) as output:
        writer = ZipWriter(output, layout)
        writer.write([FileRange(source, 0, source.nbytes)])
        writer.write([b"abc"])
        writer.write([b"3\n"])
        writer.finish()
    assert (tmp_path / "a.pt").stat().st_size == layout.nbytes
    archive = read_archive(InputFile(str(tmp_path / "a.pt")).whole)
    assert (archive.records["data/0"].nbytes, archive.read("data/1")) == (2**32 + 64, b"abc")
    with zipfile.ZipFile(tmp_path / "a.pt") as reference:
        assert reference.read("archive/data/1") == b"abc"
    reader = torch._C.PyTorchFileReader(str(tmp_path / "a.pt"))
    assert reader.get_record("data/1") == b"abc"
    (tmp_path / "a.pt").unlink()


NAMES = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=8))
def test_any_records_come_back(tmp_path: Path, records: dict[str, bytes]) -> None:
    if len({name.casefold() for name in records}) != len(records):
        return
    path = tmp_path / "a.pt"
    path.unlink(missing_ok=True)
    assert written(path, records).nbytes == path.stat().st_size
    archive = read_archive(InputFile(str(path)).whole)
    assert {name: archive.read(name) for name in archive.records} == records


def test_an_archive_of_python_and_ours_hold_the_same(tmp_path: Path) -> None:
    written(tmp_path / "a.pt", RECORDS)
    theirs = packed(tmp_path, {f"archive/{name}": data for name, data in RECORDS.items()}, name="theirs.pt")
    ours = read_archive(InputFile(str(tmp_path / "a.pt")).whole)
    other = read_archive(InputFile(str(theirs)).whole)
    assert [(r.name, r.nbytes, r.crc) for r in ours.records.values()] == [(r.name, r.nbytes, r.crc) for r in other.records.values()]
