"""Files by range, new files, locks and the few calls which publishing needs."""

import ctypes
import errno
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon import disk, posix
from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import DiskError, LockedError
from ckpt_surgeon.locks import FileLock
from ckpt_surgeon.output_file import OutputFile


@pytest.fixture
def ten(tmp_path):
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    return str(path)


def test_bytes_are_read_by_offset(ten):
    with InputFile(ten) as file:
        assert file.nbytes == 10
        assert (file.read(0, 3), file.read(7, 3), file.read(4, 0)) == (b"012", b"789", b"")


def test_a_buffer_is_the_readers_own(ten):
    with InputFile(ten) as file:
        buffer = file.read_buffer(2, 4)
        assert (type(buffer), buffer) == (bytearray, b"2345")
        buffer[0] = 0
        assert file.read(2, 1) == b"2"


@pytest.mark.parametrize(("offset", "nbytes"), [(0, 11), (8, 3), (10, 1)])
def test_reading_past_the_end_says_that_the_file_changed(ten, offset, nbytes):
    with InputFile(ten) as file, pytest.raises(DiskError, match="early"):
        file.read(offset, nbytes)


def test_a_file_which_is_cut_while_it_is_open_is_an_error_and_no_crash(ten):
    with InputFile(ten) as file:
        assert file.is_unchanged()
        os.truncate(ten, 5)
        assert not file.is_unchanged()
        with pytest.raises(DiskError, match="changed"):
            file.read(0, 10)


def test_a_file_which_is_written_over_while_it_is_open_is_an_error(ten):
    with InputFile(ten) as file:
        assert file.read(0, 2) == b"01"
        with open(ten, "r+b") as other:
            other.write(b"98")
        os.utime(ten, ns=(0, 0))  # clocks may be too coarse to tell the two apart
        with pytest.raises(DiskError, match="ten: it changed while it was read"):
            file.read(2, 2)


def test_a_file_whose_name_another_has_taken_is_read_on_and_is_known_to_be_out_of_place(ten, tmp_path):
    (tmp_path / "other").write_bytes(b"9876543210")
    with InputFile(ten) as file:
        assert file.is_in_place()
        os.rename(tmp_path / "other", ten)
        assert not file.is_in_place()
        assert file.read(0, 2) == b"01"
        os.unlink(ten)
        assert not file.is_in_place()


@pytest.mark.parametrize("name", ["missing", "ten/x", "loop", "x" * 300])
def test_a_name_which_leads_nowhere_has_no_status(ten, tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    assert disk.status(str(tmp_path / name)) is None
    assert disk.status(ten).st_size == 10


def failing(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("follows", [False, True])
def test_a_fault_is_not_taken_for_nothing_being_there(ten, monkeypatch, follows):
    monkeypatch.setattr(disk.system, "stat", failing)
    monkeypatch.setattr(disk.system, "lstat", failing)
    with pytest.raises(OSError, match="Input/output error"):
        disk.status(ten, follows=follows)


def open_descriptors():
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


@pytest.mark.parametrize(
    "open_file", [InputFile, lambda path: OutputFile(path, resume=True), FileLock], ids=["input", "resumed output", "lock"]
)
def test_a_file_which_cannot_be_looked_at_is_closed_again(ten, monkeypatch, open_file):
    before = open_descriptors()
    monkeypatch.setattr(disk.system, "fstat", failing)
    with pytest.raises(DiskError, match="ten: Input/output error"):
        open_file(ten)
    assert open_descriptors() == before


def test_closing_what_was_only_read_cannot_fail_and_closing_what_was_written_can(ten, tmp_path, monkeypatch):
    source, output = InputFile(ten), OutputFile(str(tmp_path / "new"))
    monkeypatch.setattr(disk.system, "close", failing)
    source.close()
    with pytest.raises(DiskError, match="new: Input/output error"):
        output.close()
    monkeypatch.undo()
    for descriptor in (source.descriptor, output.descriptor):
        os.close(descriptor)


@pytest.mark.parametrize("name", ["unlink", "lstat", "fstat"])
def test_a_lock_file_which_cannot_be_removed_is_taken_over(tmp_path, monkeypatch, name):
    lock = FileLock(str(tmp_path / "lock"))
    with monkeypatch.context() as patch:
        patch.setattr(disk.system, name, failing)
        lock.release()
    assert os.listdir(tmp_path) == ["lock"]
    FileLock(str(tmp_path / "lock")).release()
    assert os.listdir(tmp_path) == []


def test_a_lock_which_is_given_back_leaves_the_file_of_the_next_holder(tmp_path):
    path = str(tmp_path / "lock")
    first = FileLock(path)
    os.unlink(path)
    with FileLock(path):
        first.release()
        assert os.listdir(tmp_path) == ["lock"]


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DiskError, match="not a regular file"):
        InputFile(str(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_is_no_file_is_a_disk_error_with_its_path(tmp_path, name):
    with pytest.raises(DiskError) as caught:
        InputFile(str(tmp_path / name))
    assert str(tmp_path) in str(caught.value)


def test_a_range_has_parts_but_only_within_itself(ten):
    with InputFile(ten) as file:
        part = FileRange(file, 2, 6).part(1, 3)
        assert file.read(part.offset, part.nbytes) == b"345"
        with pytest.raises(ValueError, match="leaves"):
            FileRange(file, 2, 6).part(4, 3)
        with pytest.raises(ValueError, match="leaves"):
            FileRange(file, 2, 6).part(-1, 3)


def test_pieces_join_to_the_range(ten):
    with InputFile(ten) as file:
        found = list(disk.pieces(FileRange(file, 1, 8), size=3))
    assert found == [b"123", b"456", b"78"]


def test_a_new_file_never_replaces_one(ten):
    with pytest.raises(DiskError, match="exists"):
        OutputFile(ten)
    with open(ten, "rb") as file:
        assert file.read() == b"0123456789"


def test_what_is_written_and_copied_follows_in_order(tmp_path, ten):
    path = str(tmp_path / "new")
    with InputFile(ten) as source, OutputFile(path) as output:
        output.reserve(1000)
        output.write(b"")
        output.write(memoryview(bytearray(b"ab")))
        output.copy(FileRange(source, 3, 4))
        output.sync()
    with open(path, "rb") as file:
        assert file.read() == b"ab3456"


def test_a_resumed_file_is_written_from_its_end_on_or_from_its_start(ten):
    with OutputFile(ten, resume=True) as output:
        assert output.position == 10
        output.write(b"ab")
        output.sync()
    with open(ten, "rb") as file:
        assert file.read() == b"0123456789ab"
    with OutputFile(ten, resume=True) as output:
        output.restart()
        output.write(b"cd")
        output.sync()
    with open(ten, "rb") as file:
        assert file.read() == b"cd"


def test_a_lock_is_held_by_one_and_leaves_nothing_behind(tmp_path):
    path = str(tmp_path / "lock")
    with FileLock(path) as lock:
        with pytest.raises(LockedError):
            FileLock(path)
        assert os.listdir(tmp_path) == ["lock"]
        lock.release()
        lock.release()
    assert os.listdir(tmp_path) == []
    with FileLock(path):
        assert os.listdir(tmp_path) == ["lock"]


def test_a_lock_file_left_behind_is_taken_over(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with FileLock(str(path)):
        pass
    assert not path.exists()


def test_a_lock_is_waited_for_and_never_shared(tmp_path):
    path, inside, most = str(tmp_path / "lock"), [], []

    def work():
        for _ in range(20):
            with FileLock(path, wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 80
    assert os.listdir(tmp_path) == []


def test_a_lock_in_a_folder_which_is_not_there_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="No such file") as caught:
        FileLock(str(tmp_path / "no" / "lock"))
    assert not isinstance(caught.value, LockedError)


def test_a_name_is_never_taken_from_an_existing_file(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        disk.system.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "b"
    disk.system.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_two_folders_exchange_their_names(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was_{name}").touch()
    try:
        disk.system.exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    except OSError as error:
        assert error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)  # noqa: PT017
        pytest.skip("this file system has no exchange of names")
    assert os.listdir(tmp_path / "a") == ["was_b"]
    assert os.listdir(tmp_path / "b") == ["was_a"]


def test_more_space_than_there_is_cannot_be_had(tmp_path):
    disk.require_space(str(tmp_path), 1)
    with pytest.raises(DiskError, match="free"):
        disk.require_space(str(tmp_path), 2**62)


@pytest.mark.parametrize("act", [disk.sync_folder, lambda path: disk.require_space(path, 1)])
def test_a_missing_folder_is_a_disk_error(tmp_path, act):
    with pytest.raises(DiskError, match="No such file"):
        act(str(tmp_path / "missing"))


def test_one_file_under_two_names_is_the_same_file(ten, tmp_path):
    os.link(ten, tmp_path / "twin")
    (tmp_path / "other").write_bytes(b"0123456789")
    same, other = os.stat(tmp_path / "twin"), os.stat(tmp_path / "other")
    assert disk.is_same_file(os.stat(ten), same)
    assert not disk.is_same_file(os.stat(ten), other)


def test_where_the_c_library_lacks_the_call_it_is_the_same_as_where_the_system_does(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OSError, match="not implemented"):
        disk.system.exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    disk.system.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_where_the_system_lacks_a_call_the_plain_one_does(tmp_path, monkeypatch, code):
    def lacking(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(posix, "_renameat2", lacking)
    monkeypatch.setattr(os, "posix_fallocate", lacking)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        disk.system.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    disk.system.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert ((tmp_path / "b").read_text(), (tmp_path / "c").read_text()) == ("b", "a")
    with OutputFile(str(tmp_path / "d")) as output:
        output.reserve(0)
        output.reserve(10)
        output.sync()
    assert (tmp_path / "d").stat().st_size == 0


@pytest.mark.parametrize("name", ["posix_fallocate", "ftruncate", "fsync"])
def test_a_fault_of_the_disk_is_a_disk_error_with_the_path(tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, name, failing)
    with OutputFile(str(tmp_path / "x")) as output, pytest.raises(DiskError, match=r"x: Input/output error"):
        _ = output.reserve(10), output.sync()


def test_a_fault_while_reading_is_a_disk_error_with_the_path(ten, monkeypatch):
    with InputFile(ten) as file:
        monkeypatch.setattr(os, "pread", failing)
        with pytest.raises(DiskError, match=r"ten: Input/output error"):
            file.read(0, 1)


@given(st.binary(max_size=200), st.data())
def test_any_range_is_the_slice_of_the_file(tmp_path_factory, content, data):
    path = tmp_path_factory.mktemp("range") / "file"
    path.write_bytes(content)
    start = data.draw(st.integers(0, len(content)))
    nbytes = data.draw(st.integers(0, len(content) - start))
    inner = data.draw(st.integers(0, nbytes))
    size = data.draw(st.integers(1, 300))
    with InputFile(str(path)) as file:
        part = FileRange(file, start, nbytes).part(inner, nbytes - inner)
        wanted = content[start + inner : start + nbytes]
        assert b"".join(disk.pieces(part, size)) == wanted
        assert all(0 < len(piece) <= size for piece in disk.pieces(part, size))
        assert file.read(start, nbytes) == bytes(file.read_buffer(start, nbytes)) == content[start : start + nbytes]


@given(st.lists(st.one_of(st.binary(max_size=20), st.just("copy"), st.just("restart"), st.just("reserve")), max_size=8))
def test_a_file_holds_what_was_written_since_its_last_start(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("written")
    (folder / "source").write_bytes(b"0123456789")
    wanted = b""
    with InputFile(str(folder / "source")) as source, OutputFile(str(folder / "out")) as out:
        for step in steps:
            if step == "copy":
                out.copy(FileRange(source, 2, 5))
                wanted += b"23456"
            elif step == "restart":
                out.restart()
                wanted = b""
            elif step == "reserve":
                out.reserve(4096)
            else:
                out.write(step)
                wanted += step
            assert out.position == len(wanted)
        out.sync()
    assert (folder / "out").read_bytes() == wanted


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_write_which_the_system_cuts_short_is_gone_on_with(tmp_path, monkeypatch, kind):
    real = disk.system.write
    monkeypatch.setattr(disk.system, "write", lambda descriptor, data: real(descriptor, memoryview(data)[:3]))
    with OutputFile(str(tmp_path / "out")) as out:
        out.write(kind(b"0123456789"))
        out.write(kind(b""))
        out.sync()
    assert (tmp_path / "out").read_bytes() == b"0123456789"


@pytest.mark.parametrize(("offset", "nbytes"), [(-1, 2), (0, 5), (4, 1), (2, -1), (0, 2**70)])
def test_a_part_never_reaches_beyond_its_range_even_where_the_file_goes_on(ten, offset, nbytes):
    with InputFile(ten) as file, pytest.raises(ValueError, match="leaves a range of 4 bytes"):
        FileRange(file, 3, 4).part(offset, nbytes)
