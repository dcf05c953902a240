"""In which order an output comes to the disk, and what single faults of the disk lead to; tests/faults holds the rest."""

import errno
import os

import pytest

from ckpt_surgeon import disk
from ckpt_surgeon.errors import DiskError
from ckpt_surgeon.formats.safetensors_writer import SafetensorsWriter
from ckpt_surgeon.formats.sharded_writer import ShardedWriter
from ckpt_surgeon.output_file import OutputFile
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


class Meddled(type(disk.system)):
    """The real machine, on which something else happens once, just before a call of this name."""

    def __init__(self, name, meddle):
        self._name, self._meddle = name, meddle

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "_name"):
            self._name = ""
            self._meddle()
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("publish", [publish_file, publish_folder])
def test_what_takes_the_name_at_the_last_moment_keeps_it(tmp_path, monkeypatch, publish):
    out = tmp_path / "out"
    monkeypatch.setattr(disk, "system", Meddled("rename_new", out.mkdir))
    with pytest.raises(DiskError, match="exists already"), publish(str(out)) as temporary:
        os.mkdir(temporary)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == []


def test_a_workplace_which_the_run_before_removes_at_that_moment_is_made_again(tmp_path, monkeypatch):
    place = tmp_path / ".out.ckpt-surgeon-tmp"
    monkeypatch.setattr(disk, "system", Meddled("open", place.rmdir))
    write_file(str(tmp_path / "out"), b"n")
    assert os.listdir(tmp_path) == ["out"]


def test_a_signal_while_the_workplace_is_removed_leaves_nothing(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    def fail():
        with publish_file(str(tmp_path / "out")) as temporary:
            OutputFile(temporary).close()
            monkeypatch.setattr(disk, "system", Meddled("unlink", interrupt))
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []
