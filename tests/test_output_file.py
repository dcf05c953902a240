"""An output is the bytes which were given, in order, by whatever way the system moves them."""

import errno
import os
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon import disk
from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError, DiskError
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.posix import UNSUPPORTED, PosixSystem

CONTENT = bytes(range(251)) * 1200  # more than what is gathered, and than what is copied at once
WAYS = ("copy_range", "send_range")


class Counted(PosixSystem):
    """The real machine, which keeps what it moved and wrote; `lacks`: calls which it has not, with the answer which says so."""

    def __init__(self, lacks=(), answer=errno.ENOSYS, most=None):
        self.lacks, self.answer, self.most, self.calls = lacks, answer, most, []

    def _moved(self, name, source, offset, target, nbytes):
        if name in self.lacks:
            raise OSError(self.answer, os.strerror(self.answer))
        self.calls.append((name, offset, nbytes))
        return getattr(super(), name)(source, offset, target, nbytes if self.most is None else min(nbytes, self.most))

    def copy_range(self, source, offset, target, nbytes):
        return self._moved("copy_range", source, offset, target, nbytes)

    def send_range(self, source, offset, target, nbytes):
        return self._moved("send_range", source, offset, target, nbytes)

    def write(self, descriptor, data):
        self.calls.append(("write", None, len(data)))
        return super().write(descriptor, data)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    with InputFile(str(tmp_path / "source")) as file:
        yield file


def machine(monkeypatch, **how):
    counted = Counted(**how)
    monkeypatch.setattr(disk, "system", counted)
    return counted


def test_ranges_which_touch_move_by_one_call(tmp_path, source, monkeypatch):
    counted = machine(monkeypatch)
    with OutputFile(str(tmp_path / "out")) as output:
        for offset in range(0, 300_000, 1000):
            output.copy(source.whole.part(offset, 1000))
        assert output.position == 300_000
    assert (tmp_path / "out").read_bytes() == CONTENT[:300_000]
    assert counted.calls == [("copy_range", 0, 300_000)]


def test_what_is_small_is_written_together(tmp_path, source, monkeypatch):
    counted = machine(monkeypatch)
    with OutputFile(str(tmp_path / "out")) as output:
        for offset in range(0, 200_000, 20):
            output.write(b"-")
            output.copy(source.whole.part(offset, 10))
    wanted = b"".join(b"-" + CONTENT[offset : offset + 10] for offset in range(0, 200_000, 20))
    assert (tmp_path / "out").read_bytes() == wanted
    assert counted.calls == [("write", None, len(wanted))]


@pytest.mark.parametrize("answer", UNSUPPORTED, ids=errno.errorcode.get)
@pytest.mark.parametrize("lacks", [(), WAYS[:1], WAYS], ids=str)
def test_the_best_way_which_the_system_has_is_taken(tmp_path, source, monkeypatch, lacks, answer):
    counted = machine(monkeypatch, lacks=lacks, answer=answer)
    with OutputFile(str(tmp_path / "out")) as output:
        output.write(b"head")
        output.copy(source.whole.part(1, 200_000))
        output.copy(source.whole.part(7, 100_000))
    assert (tmp_path / "out").read_bytes() == b"head" + CONTENT[1:200_001] + CONTENT[7:100_007]
    best = next((way for way in WAYS if way not in lacks), "write")
    assert [name for name, _, _ in counted.calls] == ["write", best, best]


@pytest.mark.parametrize("way", [0, 1])
def test_a_system_which_moves_a_part_is_asked_again(tmp_path, source, monkeypatch, way):
    machine(monkeypatch, lacks=WAYS[:way], most=70_000)
    with OutputFile(str(tmp_path / "out")) as output:
        output.copy(source.whole)
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_system_without_the_calls_copies_by_itself(tmp_path, source, monkeypatch):
    def no_socket(*_):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))

    monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.setattr(os, "sendfile", no_socket)
    with OutputFile(str(tmp_path / "out")) as output:
        output.copy(source.whole)
    assert (tmp_path / "out").read_bytes() == CONTENT


@pytest.mark.parametrize("way", WAYS)
def test_a_fault_while_the_system_moves_is_an_error_of_the_output(tmp_path, source, monkeypatch, way):
    machine(monkeypatch, lacks=[way], answer=errno.ENOSPC)
    if way == "send_range":
        monkeypatch.delattr(os, "copy_file_range")
    output = OutputFile(str(tmp_path / "out"))
    output.copy(source.whole)
    with pytest.raises(DiskError, match="out: No space"):
        output.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(output.descriptor)
    output.close()


@pytest.mark.parametrize("lacks", [(), WAYS[:1], WAYS], ids=str)
def test_a_source_which_shrinks_or_changes_meanwhile_is_an_error(tmp_path, source, monkeypatch, lacks):
    machine(monkeypatch, lacks=lacks)
    for change, message in ((lambda: os.truncate(source.path, 99), "ends at byte"), (lambda: os.utime(source.path, ns=(1, 1)), "changed")):
        output = OutputFile(str(tmp_path / message))
        output.copy(source.whole.part(100, 200_000))
        change()
        with pytest.raises(DiskError, match=message):
            output.sync()
        output.abandon()
        (tmp_path / "source").write_bytes(CONTENT)


@pytest.mark.parametrize("nbytes", [10, 300_000])
def test_bytes_with_a_checksum_are_compared_with_it(tmp_path, source, nbytes):
    good = FileRange(source, 5, nbytes, zlib.crc32(CONTENT[5 : 5 + nbytes]))
    with OutputFile(str(tmp_path / "good")) as output:
        output.copy(good)
    assert (tmp_path / "good").read_bytes() == CONTENT[5 : 5 + nbytes]
    output = OutputFile(str(tmp_path / "bad"))
    with pytest.raises(CorruptError, match="source: its bytes are damaged"):
        output.copy(FileRange(source, 6, nbytes, good.crc))
    output.abandon()


def test_what_is_abandoned_brings_nothing_more_to_the_disk(tmp_path, source, monkeypatch):
    counted = machine(monkeypatch)
    output = OutputFile(str(tmp_path / "out"))
    output.write(b"due")
    output.copy(source.whole)
    output.abandon()
    output.close()
    assert counted.calls == []
    assert (tmp_path / "out").read_bytes() == b""


def test_a_fresh_start_forgets_what_is_due(tmp_path, source):
    with OutputFile(str(tmp_path / "out")) as output:
        output.write(CONTENT)
        output.copy(source.whole)
        output.restart()
        output.write(b"new")
    assert (tmp_path / "out").read_bytes() == b"new"


PLACE = st.tuples(st.integers(0, 200_000), st.sampled_from([0, 1, 100, 65_535, 65_536, 65_537, 90_000]))
STEPS = st.lists(st.tuples(st.sampled_from(["write", "copy", "next"]), PLACE), max_size=12)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([(), WAYS[:1], WAYS]))
def test_any_order_of_writes_and_copies_gives_the_bytes_in_order(tmp_path_factory, steps, lacks):
    folder, wanted, end = tmp_path_factory.mktemp("law"), b"", 0
    (folder / "source").write_bytes(CONTENT)
    before, disk.system = disk.system, Counted(lacks=lacks)
    try:
        with InputFile(str(folder / "source")) as file, OutputFile(str(folder / "out")) as output:
            for step, (offset, nbytes) in steps:
                offset = min(end, 200_000) if step == "next" else offset
                output.write(CONTENT[offset : offset + nbytes]) if step == "write" else output.copy(file.whole.part(offset, nbytes))
                wanted, end = wanted + CONTENT[offset : offset + nbytes], offset + nbytes
                assert output.position == len(wanted)
    finally:
        disk.system = before
    assert (folder / "out").read_bytes() == wanted
