"""In which order an output comes to the disk, and what single faults of the disk lead to; tests/faults holds the rest."""

import errno
import os

import pytest

from ckpt_surgeon import disk
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.formats.safetensors_writer import SafetensorsWriter
from ckpt_surgeon.formats.sharded_writer import ShardedWriter
from ckpt_surgeon.publishing import publish_file, publish_folder
from ckpt_surgeon.spec import Header, TensorSpec

HEADER = Header({key: TensorSpec.of("uint8", 1000) for key in "abc"})


class Watched:
    """The real machine, which keeps the names of its calls; it has none of those which it `lacks`."""

    def __init__(self, lacks: tuple[str, ...]) -> None:
        self.real, self.lacks, self.calls = disk.system, lacks, []

    def __getattr__(self, name):
        self.calls.append(name)
        return lacking if name in self.lacks else getattr(self.real, name)


def lacking(*_):
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def fill(writer, letter):
    try:
        for key in HEADER.entries:
            writer.write(key, [letter * 1000])
        writer.close()
    except BaseException:
        writer.abort()
        raise


def write_file(path, letter):
    with publish_file(path, force=True) as temporary:
        fill(SafetensorsWriter(temporary, HEADER), letter)


def write_folder(path, letter):
    with publish_folder(path, force=True) as temporary:
        fill(ShardedWriter(temporary, HEADER, 1500), letter)


def content(path):
    with open(path, "rb") as file:
        return file.read()


RUNS = pytest.mark.parametrize(
    ("write", "lacks"),
    [(write_file, ()), (write_folder, ()), (write_folder, ("exchange",))],
    ids=["file", "folder", "folder where names cannot be exchanged"],
)


@RUNS
def test_a_fault_of_fsync_is_told_and_never_tried_again(tmp_path, monkeypatch, write, lacks):
    real = disk.system

    class Once(type(real)):
        calls = 0

        def fsync(self, descriptor):
            Once.calls += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "system", Once())
    with pytest.raises(DiskError, match="Input/output error"):
        write(str(tmp_path / "out"), b"n")
    assert Once.calls == 1
    assert os.listdir(tmp_path) == []


@RUNS
def test_everything_is_synced_before_it_takes_its_name_and_the_folder_after(tmp_path, monkeypatch, write, lacks):
    write(str(tmp_path / "out"), b"o")
    watched = Watched(lacks)
    monkeypatch.setattr(disk, "system", watched)
    write(str(tmp_path / "out"), b"n")
    calls = [name for name in watched.calls if name in ("write", "fsync", "rename", "exchange")]
    named = next(i for i, name in enumerate(calls) if name in ("rename", "exchange"))
    assert "write" not in calls[named:]
    assert calls[named - 1] == "fsync"
    assert calls[:named].count("fsync") == (1 if write is write_file else 5)  # three shards, their index, their folder
    assert calls[-1] == "fsync"


def test_a_full_disk_is_known_before_a_tensor_is_written(tmp_path, monkeypatch):
    class Full(type(disk.system)):
        def reserve(self, descriptor, nbytes):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "system", Full())
    with pytest.raises(DiskError, match="No space left"):
        SafetensorsWriter(str(tmp_path / "out"), HEADER)
    assert os.path.getsize(tmp_path / "out") == 0


def test_short_writes_are_completed(tmp_path, monkeypatch):
    class Slow(type(disk.system)):
        def write(self, descriptor, data):
            return super().write(descriptor, data[:7])

        def pread(self, descriptor, nbytes, offset):
            return super().pread(descriptor, min(nbytes, 5), offset)

    write_file(str(tmp_path / "fast"), b"n")
    monkeypatch.setattr(disk, "system", Slow())
    write_file(str(tmp_path / "slow"), b"n")
    with disk.InputFile(str(tmp_path / "slow")) as slow:
        assert slow.read(0, slow.nbytes) == content(tmp_path / "fast")
