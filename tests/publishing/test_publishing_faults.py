"""Every system call of a whole run fails once: the destination is the old one or the new one, and the next run succeeds."""

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
# The calls which clean up; where they, or the lock, or the way back of a swap fail, something stays for the next run.
CLEANING = {"unlink", "rmdir", "listdir", "lstat", "fstat", "close"}
STAYS = (CLEANING - {"close"}) | {"lock"}


class Faulty:
    """The real machine, but its call number `fatal` fails (and, when told, all after it); calls are counted by name."""

    def __init__(self, fatal: int, code: int, *, lasts: bool = False, lacks: tuple[str, ...] = ()) -> None:
        self.real, self.fatal, self.code, self.lasts, self.lacks = disk.system, fatal, code, lasts, lacks
        self.calls: list[str] = []
        self.failed: list[str] = []

    def __getattr__(self, name):
        call = getattr(self.real, name)

        def counted(*arguments, **options):
            if name in self.lacks:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            number = len(self.calls)
            self.calls.append(name)
            if number == self.fatal or (self.lasts and number > self.fatal and name not in CLEANING):
                self.failed.append(name)
                if name == "close":
                    call(*arguments, **options)
                raise OSError(self.code, os.strerror(self.code))
            return call(*arguments, **options)

        return counted


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


def snapshot(path):
    """All bytes at a destination; None where nothing is."""
    if os.path.isdir(path):
        return {name: snapshot(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def hidden(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


def fails(write, path, letter):
    """Whether a run fails, which it may do with a DiskError only."""
    try:
        write(path, letter)
    except DiskError:
        return True
    return False


def run_which_writes_nothing(write, path):
    """A later run, which finds what the one before left, and then fails by itself."""
    publish = publish_file if write is write_file else publish_folder
    with pytest.raises(ZeroDivisionError), publish(path, force=True):
        raise ZeroDivisionError


RUNS = pytest.mark.parametrize(
    ("write", "lacks"),
    [(write_file, ()), (write_folder, ()), (write_folder, ("exchange",))],
    ids=["file", "folder", "folder where names cannot be exchanged"],
)


@RUNS
@pytest.mark.parametrize("is_there", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from then on"])
def test_whichever_call_fails_the_destination_is_the_old_or_the_new_one(tmp_path, monkeypatch, write, lacks, is_there, code, lasts):
    path, outcomes = str(tmp_path / "out"), set()
    write(path, b"n")
    new = snapshot(path)
    for fatal in range(1000):
        os.rename(path, tmp_path / f"used{fatal}") if os.path.exists(path) else None
        if is_there:
            write(path, b"o")
        old = snapshot(path)
        faulty = Faulty(fatal, code, lasts=lasts, lacks=lacks)
        with monkeypatch.context() as patch:
            patch.setattr(disk, "system", faulty)
            failed = fails(write, path, b"n")
        is_aside = faulty.failed.count("rename") > 1  # the old folder, whose name could not be given back either
        assert not hidden(tmp_path) or is_aside or set(faulty.failed) & STAYS, faulty.failed
        assert snapshot(path) in (old, new) or is_aside, faulty.failed
        run_which_writes_nothing(write, path)
        assert snapshot(path) in (old, new), faulty.failed
        assert failed or snapshot(path) == new
        assert not hidden(tmp_path)
        outcomes.add(snapshot(path) == new)
        if not faulty.failed:
            break
    assert (failed, outcomes) == (False, {False, True})
    assert fatal > 20


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
    faulty = Faulty(10**9, errno.EIO, lacks=lacks)
    monkeypatch.setattr(disk, "system", faulty)
    write(str(tmp_path / "out"), b"n")
    calls = [name for name in faulty.calls if name in ("write", "fsync", "rename", "exchange")]
    named = next(i for i, name in enumerate(calls) if name in ("rename", "exchange"))
    assert "write" not in calls[named:]
    assert calls[named - 1] == "fsync"
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
        assert slow.read(0, slow.nbytes) == snapshot(tmp_path / "fast")
