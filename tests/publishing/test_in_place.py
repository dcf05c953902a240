"""A file which is changed where it stands: old or new whatever happens; a journal which is not its own makes nobody write."""

import hashlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_surgeon.disk import TEMPORARY_SUFFIX
from ckpt_surgeon.errors import CorruptError, DiskError, LimitError, LockedError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.pending import journal_path, refuse_pending
from ckpt_surgeon.locks import FileLock
from ckpt_surgeon.publishing import edited, publish_file, recover, require_editable
from ckpt_surgeon.publishing.journal import MAX_JOURNAL_BYTES, Journal

OLD = b"0123456789"
EDIT = Edit((Change(2, b"23", b"ab"), Change(8, b"89", b"xyz")), 10, 11)
NEW = b"01ab4567xyz"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(OLD)
    return path


def journal_of(path: Path) -> Path:
    return Path(journal_path(str(path)))


def plant(path: Path, edit: Edit = EDIT, inode: int | None = None) -> Path:
    """A journal as it stands in the midst of an edit."""
    journal = journal_of(path)
    journal.write_bytes(Journal(path.stat().st_ino if inode is None else inode, edit).to_bytes())
    journal.chmod(0o600)
    return journal


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_the_file_bears_the_edit_while_the_block_runs_and_then(file):
    inode = file.stat().st_ino
    with edited(str(file), EDIT):
        assert file.read_bytes() == NEW
        assert journal_of(file).exists()
    assert file.read_bytes() == NEW
    assert file.stat().st_ino == inode
    assert names(file) == ["model.pt"]


def test_a_path_without_a_folder_is_one_in_the_current_folder(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    with edited("model.pt", EDIT):
        pass
    assert file.read_bytes() == NEW
    assert recover("model.pt") == "nothing"


@pytest.mark.parametrize("error", [ZeroDivisionError, SurgeryError, KeyboardInterrupt])
def test_the_old_bytes_are_back_when_the_block_raises(file, error):
    with pytest.raises(error), edited(str(file), EDIT):
        raise error("no")
    assert file.read_bytes() == OLD
    assert names(file) == ["model.pt"]


def test_the_journal_is_nobody_elses_to_read(file):
    with edited(str(file), EDIT):
        assert journal_of(file).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_undone_is_said_and_left_to_recover(file, monkeypatch):
    from ckpt_surgeon.publishing import in_place

    def fail(*_):
        raise DiskError("Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(in_place, "_undo", fail)
        with pytest.raises(LockedError) as caught:
            begin_and_fail(file, EDIT, NEW)
    assert f"recover {file}" in str(caught.value)
    assert recover(file) == "finished"
    assert file.read_bytes() == NEW


def test_a_file_which_has_changed_since_is_left_alone(file):
    file.write_bytes(OLD[::-1])
    with pytest.raises(DiskError, match="has changed"), edited(str(file), EDIT):
        pass
    assert file.read_bytes() == OLD[::-1]
    assert names(file) == ["model.pt"]


def make_link(file):
    path = file.with_name("link.pt")
    path.symlink_to(file)
    return path


def make_folder(file):
    path = file.with_name("folder.pt")
    path.mkdir()
    return path


def make_fifo(file):
    path = file.with_name("pipe.pt")
    os.mkfifo(path)
    return path


def harden(file):
    file.with_name("second.pt").hardlink_to(file)
    return file


def close(file):
    file.chmod(0o444)
    return file


REFUSED = {
    make_link: "symbolic link",
    make_folder: "no regular file",
    make_fifo: "no regular file",
    harden: "2 names",
    close: "read-only",
    lambda file: file.with_name("absent.pt"): "no such file",
}


@pytest.mark.parametrize("make", REFUSED, ids=list(REFUSED.values()))
def test_what_is_no_plain_file_of_one_name_is_not_edited(file, make):
    path = make(file)
    before = names(file)
    with pytest.raises(DiskError, match=REFUSED[make]):
        require_editable(str(path))
    with pytest.raises(DiskError, match=REFUSED[make]), edited(str(path), EDIT):
        pass
    assert file.read_bytes() == OLD
    assert names(file) == before


def test_two_runs_exclude_each_other(file):
    with edited(str(file), EDIT):
        with pytest.raises(LockedError, match="another run"), edited(str(file), EDIT):
            pass
        with pytest.raises(LockedError, match="another run"):
            recover(file)
        with pytest.raises(LockedError), publish_file(str(file), force=True):
            pass
    assert file.read_bytes() == NEW


def test_while_a_journal_stands_nobody_reads_or_replaces_the_file(file):
    plant(file)
    link = make_link(file)
    for path in (file, link):
        with pytest.raises(LockedError) as caught:
            refuse_pending(str(path))
        assert f"ckpt-surgeon recover {file}" in caught.value.hint
        with pytest.raises(LockedError):
            open_checkpoint(str(path))
    with pytest.raises(LockedError), publish_file(str(file), force=True):
        pass
    with pytest.raises(LockedError), edited(str(file), EDIT):
        pass
    assert file.read_bytes() == OLD


def test_a_journal_is_no_checkpoint(file):
    with pytest.raises(CorruptError, match="unfinished"):
        open_checkpoint(str(plant(file)))


def test_the_journal_of_a_file_with_a_long_name_has_a_name_which_fits(tmp_path):
    file = tmp_path / ("x" * 250)
    file.write_bytes(OLD)
    with edited(str(file), EDIT):
        assert len(journal_of(file).name) < 255
        assert journal_of(file).name.endswith(TEMPORARY_SUFFIX)
    assert file.read_bytes() == NEW


@pytest.mark.parametrize(
    ("found", "done", "then"),
    [
        (OLD, "undone", OLD),
        (NEW, "finished", NEW),
        (b"01ab4567xy", "undone", OLD),
        (b"01a3456789", "undone", OLD),
        (b"0123456789z", "undone", OLD),
        (b"0123456789\0", "undone", OLD),
    ],
)
def test_recover_finishes_what_is_all_there_and_undoes_the_rest(file, found, done, then):
    with file.open("r+b") as writer:
        writer.write(found)
    plant(file)
    assert recover(file) == done
    assert file.read_bytes() == then
    assert names(file) == ["model.pt"]
    assert recover(file) == "nothing"


def test_recover_follows_a_link_to_the_file_beside_which_the_journal_stands(file):
    plant(file)
    assert recover(make_link(file)) == "undone"
    assert names(file) == ["link.pt", "model.pt"]


def test_recover_removes_what_a_run_has_left_which_was_stopped_before_its_journal_stood(file):
    workplace = file.with_name(f".model.pt{TEMPORARY_SUFFIX}")
    workplace.mkdir()
    (workplace / "journal").write_bytes(b"half of it")
    assert recover(file) == "nothing"
    assert names(file) == ["model.pt"]


def test_recover_waits_for_no_other_run(file):
    workplace = file.with_name(f".model.pt{TEMPORARY_SUFFIX}")
    workplace.mkdir()
    plant(file)
    with FileLock(str(workplace / f"lock{TEMPORARY_SUFFIX}")), pytest.raises(LockedError):
        recover(file)


def test_a_file_which_is_not_there_is_not_recovered(tmp_path, file):
    with pytest.raises(DiskError):
        recover(tmp_path / "absent.pt")
    plant(file)
    file.unlink()
    with pytest.raises(DiskError):
        recover(file)
    assert journal_of(file).exists()


@pytest.mark.parametrize("found", [b"0123456q89", b"01qb456789", OLD + b"0123", OLD[:9], b"", b"\0" * 10])
def test_a_journal_of_other_bytes_makes_nobody_write(file, found):
    edit = Edit((Change(2, b"23", b"ab"), Change(7, b"789", b"xyzw")), 10, 11)
    file.write_bytes(found)
    journal = plant(file, edit)
    with pytest.raises(CorruptError, match="not of this file") as caught:
        recover(file)
    assert str(journal) in caught.value.hint
    assert file.read_bytes() == found
    assert journal.exists()


def test_a_journal_of_a_file_which_was_replaced_makes_nobody_write(file):
    journal = plant(file)
    other = file.with_name("other")
    other.write_bytes(OLD)
    other.replace(file)
    with pytest.raises(CorruptError, match="not of this file"):
        recover(file)
    assert file.read_bytes() == OLD
    assert journal.exists()


def spoil_mode(journal):
    journal.chmod(0o620)


def spoil_names(journal):
    journal.with_name("second").hardlink_to(journal)


def spoil_kind(journal):
    journal.unlink()
    journal.mkdir()


def spoil_link(journal):
    journal.rename(journal.with_name("elsewhere"))
    journal.symlink_to(journal.with_name("elsewhere"))


def spoil_owner(journal):
    os.chown(journal, 12345, -1)


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_names, spoil_kind, spoil_link, pytest.param(spoil_owner, marks=pytest.mark.root)])
def test_a_journal_which_another_could_have_made_is_not_read(file, spoil):
    file.write_bytes(b"01ab456789")
    spoil(plant(file))
    with pytest.raises(UnsafeError, match="yours alone"):
        recover(file)
    assert file.read_bytes() == b"01ab456789"


def test_a_journal_beyond_all_bounds_is_not_read(file):
    journal = plant(file)
    os.truncate(journal, MAX_JOURNAL_BYTES + 1)
    with pytest.raises(LimitError):
        recover(file)
    assert file.read_bytes() == OLD


def test_an_edit_which_would_need_one_is_refused_before_anything_is_touched(file, monkeypatch):
    monkeypatch.setattr("ckpt_surgeon.publishing.journal.MAX_JOURNAL_BYTES", 100)
    with pytest.raises(LimitError, match="journal"), edited(str(file), EDIT):
        pass
    assert file.read_bytes() == OLD
    assert names(file) == ["model.pt"]


def signed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


SOUND = Journal(7, EDIT).to_bytes()
BODY = SOUND[:-32]
HEAD = len(b"ckpt-surgeon journal 1\n")


def with_numbers(offset: int, *values: int) -> bytes:
    body = bytearray(BODY)
    struct.pack_into(f"<{len(values)}Q", body, offset, *values)
    return signed(bytes(body))


FORGED = {
    "empty": b"",
    "only a digest": signed(b""),
    "cut": SOUND[:-1],
    "one bit of it": bytes([*SOUND[:50], SOUND[50] ^ 1, *SOUND[51:]]),
    "another magic": signed(b"C" + BODY[1:]),
    "no numbers": signed(BODY[: HEAD + 31]),
    "more bytes than it says": signed(BODY + b"x"),
    "fewer": signed(BODY[:-1]),
    "changes without end": with_numbers(HEAD + 24, 2**64 - 1),
    "seventeen changes": with_numbers(HEAD + 24, 17),
    "more changes than there are": with_numbers(HEAD + 24, 3),
    "none, and bytes": with_numbers(HEAD + 24, 0),
    "another old size": with_numbers(HEAD + 8, 11),
    "another new size": with_numbers(HEAD + 16, 2**64 - 1),
    "a change beyond the end": with_numbers(HEAD + 32, 2**63),
    "a change of all memory": with_numbers(HEAD + 40, 2**64 - 1),
    "changes which overlap": with_numbers(HEAD + 32, 7),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_damaged_or_forged_journal_makes_nobody_write(file, data):
    journal = plant(file)
    journal.write_bytes(data)
    with pytest.raises(CorruptError, match="damaged, or is no journal"):
        recover(file)
    assert file.read_bytes() == OLD
    assert journal.read_bytes() == data


@st.composite
def edits(draw):
    """A file, and a sound edit of it."""
    old = draw(st.binary(min_size=1, max_size=40))
    cut = draw(st.integers(0, len(old)))
    changes = []
    if cut:
        start = draw(st.integers(0, cut - 1))
        end = draw(st.integers(start, cut))
        changes.append(Change(start, old[start:end], draw(st.binary(min_size=end - start, max_size=end - start))))
    tail = draw(st.binary(max_size=20))
    changes.append(Change(cut, old[cut:], tail))
    return old, Edit(tuple(changes), len(old), cut + len(tail))


def begin_and_fail(path: Path, edit: Edit, new: bytes) -> None:
    with edited(str(path), edit):
        assert path.read_bytes() == new
        raise ZeroDivisionError


def apply(old: bytes, edit: Edit) -> bytes:
    for change in edit.changes:
        old = old[: change.offset] + change.new + old[change.offset + len(change.old) :]
    return old


@given(edits(), st.integers(0, 2**64 - 1))
def test_a_journal_reads_back_as_it_was_written(case, inode):
    journal = Journal(inode, case[1])
    assert Journal.from_bytes(journal.to_bytes()) == journal


@given(edits())
def test_any_edit_leads_to_its_new_bytes_and_back(tmp_path_factory, case):
    old, edit = case
    path = tmp_path_factory.mktemp("edit") / "file"
    path.write_bytes(old)
    with pytest.raises(ZeroDivisionError):
        begin_and_fail(path, edit, apply(old, edit))
    assert path.read_bytes() == old
    with edited(str(path), edit):
        pass
    assert path.read_bytes() == apply(old, edit)


@given(edits(), st.data())
def test_any_mixture_of_old_and_new_is_recovered(tmp_path_factory, case, data):
    old, edit = case
    path = tmp_path_factory.mktemp("edit") / "file"
    new = apply(old, edit)
    longer = max(old, new, key=len)
    nbytes = data.draw(st.integers(min(len(old), len(new)), len(longer)))
    picks = data.draw(st.lists(st.booleans(), min_size=nbytes, max_size=nbytes))
    first, second = (text + longer[len(text) :] for text in (old, new))
    path.write_bytes(bytes((b if pick else a) for a, b, pick in zip(first, second, picks, strict=False)))
    whole = path.read_bytes()
    plant(path, edit)
    done = recover(path)
    assert path.read_bytes() == (new if done == "finished" else old)
    assert (done == "finished") == (whole == new != old)


def test_nothing_is_published_under_a_name_beside_which_a_journal_has_stayed(file):
    journal = plant(file)
    file.unlink()
    with pytest.raises(LockedError, match="of a file of this name, which is gone") as caught, publish_file(str(file)):
        pass
    assert str(journal) in caught.value.problems[0].hint
    assert not file.exists()
    journal.unlink()
    with publish_file(str(file)) as temporary:
        Path(temporary).write_bytes(NEW)
    assert file.read_bytes() == NEW


def test_a_damaged_journal_says_what_can_be_done(file):
    journal_of(file).touch(0o600)
    with pytest.raises(CorruptError, match="no journal at all") as caught:
        recover(file)
    assert "remove the journal" in caught.value.problems[0].hint
