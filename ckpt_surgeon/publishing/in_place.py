"""edited, recover: a file is changed where it stands, under a journal from which the old one can be made again at any moment.

The journal is complete and on the disk before the first byte of the file changes, and goes once the new state is on the disk.
While it stands every reader refuses the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from ckpt_surgeon import disk
from ckpt_surgeon.errors import CorruptError, DiskError, LockedError
from ckpt_surgeon.formats.edit import Edit
from ckpt_surgeon.formats.pending import journal_path, recovery_hint, refuse_pending
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.publishing.edit_state import State, state_of
from ckpt_surgeon.publishing.edited_file import EditedFile
from ckpt_surgeon.publishing.journal import Journal, read_journal
from ckpt_surgeon.publishing.workplace import workplace, workplace_path

__all__ = ["Recovery", "edited", "recover", "require_editable"]

Recovery = Literal["nothing", "finished", "undone"]

_ELSEWHERE = "write a new file: -o OUT"


def require_editable(path: str) -> None:
    """DiskError unless `path` is a regular file of one name, no link to one, which its owner may write."""
    with disk.reported(path):
        found = disk.status(path, follows=False)
    if found is None:
        raise DiskError("no such file", where=path)
    if stat.S_ISLNK(found.st_mode):
        raise DiskError(
            "it is a symbolic link, which is not edited in place", where=path, hint=f"give the path itself: {os.path.realpath(path)}"
        )
    if not stat.S_ISREG(found.st_mode):
        raise DiskError("it is no regular file, and nothing else is edited in place", where=path, hint=_ELSEWHERE)
    if found.st_nlink > 1:
        raise DiskError(f"it has {found.st_nlink} names (hard links), and would change under all of them", where=path, hint=_ELSEWHERE)
    if not found.st_mode & stat.S_IWUSR:
        raise DiskError("it is read-only", where=path, hint=f"{_ELSEWHERE}, or allow writing: chmod u+w")


@contextmanager
def edited(path: str, edit: Edit) -> Iterator[None]:
    """The file bears the edit while the block runs, and keeps it when the block ends; when it raises, the old bytes are back.

    Raises DiskError when the file is not as the edit supposes or cannot be written, LockedError when another run has it, or when
    what went wrong could not be undone: then the journal stays, and `recover` finishes or undoes the edit.
    """
    require_editable(path)
    with workplace(os.path.abspath(path)) as folder, EditedFile(path) as file:
        refuse_pending(path)
        if _state(file, edit) != "old":
            raise DiskError("the file has changed since the edit was planned", where=path, hint="run it again")
        try:
            _put_journal(Journal(file.inode, edit), folder, path)
            _apply(file, edit)
            yield
            with disk.reported(path):
                disk.system.unlink(journal_path(path))
        except BaseException as error:
            _take_back(file, edit, error)
            raise
        _sync_names(path)


def recover(path: str | os.PathLike[str]) -> Recovery:
    """Finish an in-place edit which was cut short, when all of it is there, or else undo it; `nothing` when there is none.

    Only a file which is the journal's, with bytes which are all old or new ones, is ever written.
    Raises UnsafeError for a journal of another user, CorruptError for one of another file, LockedError while the edit is under way.
    """
    name = os.path.abspath(os.fspath(path))
    if os.path.islink(name) and not _is_pending(name):
        name = os.path.realpath(name)  # the journal stands beside the file itself
    with disk.reported(name):
        is_clean = disk.status(workplace_path(name), follows=False) is None
        if is_clean and not _is_pending(name):
            disk.system.stat(name)
            return "nothing"
    with workplace(name):  # removes what a run has left
        if not _is_pending(name):
            return "nothing"
        journal = read_journal(journal_path(name))
        with EditedFile(name) as file:
            done = _settle(file, journal)
        _remove_journal(name)
    return done


def _is_pending(path: str) -> bool:
    with disk.reported(path):
        return disk.status(journal_path(path), follows=False) is not None


def _state(file: EditedFile, edit: Edit) -> State:
    found = [file.read(change.offset, max(len(change.old), len(change.new))) for change in edit.changes]
    return state_of(edit, file.nbytes, found)


def _put_journal(journal: Journal, folder: str, path: str) -> None:
    """The journal gets its name once it is complete, so that one which stands is."""
    temporary = os.path.join(folder, "journal")
    with OutputFile(temporary, 0o600) as output:
        output.write(journal.to_bytes())
        output.sync()
    with disk.reported(path):
        disk.system.rename_new(temporary, journal_path(path))
    _sync_names(path)


def _apply(file: EditedFile, edit: Edit) -> None:
    """Write what is new; first of all what lies beyond the old end, for which the disk may have no room."""
    for change in edit.changes:
        room = edit.old_nbytes - change.offset
        file.write(edit.old_nbytes, change.new[room:])
    for change in edit.changes:
        file.write(change.offset, change.new[: edit.old_nbytes - change.offset])
    file.resize(edit.new_nbytes)
    file.sync()


def _undo(file: EditedFile, edit: Edit) -> None:
    for change in edit.changes:
        file.write(change.offset, change.old)
    file.resize(edit.old_nbytes)
    file.sync()
    if _state(file, edit) != "old":
        raise DiskError("the old bytes do not read back", where=file.path)


def _take_back(file: EditedFile, edit: Edit, error: BaseException) -> None:
    """Undo what was begun; without its journal nothing was. LockedError when it cannot be undone now."""
    try:
        if not _is_pending(file.path):
            return
        _undo(file, edit)
        _remove_journal(file.path)
    except DiskError as fault:
        what = f"the edit was cut short, and cannot be undone now: {fault.problems[0].what}"
        raise LockedError(what, where=file.path, hint=recovery_hint(file.path)) from error


def _settle(file: EditedFile, journal: Journal) -> Recovery:
    """Bring the file into one of its two states, and that to the disk: what stands there may never have reached it."""
    state = _state(file, journal.edit)
    if file.inode != journal.inode or state == "foreign":
        hint = f"if the file is as it should be, remove the journal: {journal_path(file.path)}"
        raise CorruptError("the journal which stands beside it is not of this file; nothing was written", where=file.path, hint=hint)
    if state == "new":
        _apply(file, journal.edit)
        return "finished"
    _undo(file, journal.edit)
    return "undone"


def _remove_journal(path: str) -> None:
    with disk.reported(path), suppress(FileNotFoundError):
        disk.system.unlink(journal_path(path))
    _sync_names(path)


def _sync_names(path: str) -> None:
    disk.sync_folder(os.path.dirname(os.path.abspath(path)))
