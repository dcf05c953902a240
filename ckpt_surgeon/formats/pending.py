"""The journal of an in-place edit, as every reader sees it: while one stands beside a file, the file is not to be read."""

from __future__ import annotations

import os
import stat

from ckpt_surgeon import disk
from ckpt_surgeon.disk import TEMPORARY_SUFFIX
from ckpt_surgeon.errors import LockedError

__all__ = ["journal_path", "recovery_hint", "refuse_pending"]

# File systems allow 255 bytes; the rest is for the suffix.
_MAX_NAME_BYTES = 200


def journal_path(path: str) -> str:
    """Where the journal of an edit of `path` stands: beside it, under a name which no reader takes for a checkpoint."""
    folder, name = os.path.split(path)
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        import hashlib  # on use: opening a file asks for this path, and few names are that long

        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, f"{name}.journal{TEMPORARY_SUFFIX}")


def recovery_hint(path: str) -> str:
    """What finishes or undoes an edit."""
    import shlex

    return f"ckpt-surgeon recover {shlex.quote(path)}"


def refuse_pending(path: str) -> None:
    """LockedError while the journal of an in-place edit stands beside a file, or beside the one to which a link leads."""
    with disk.reported(path):
        found = disk.status(path, follows=False)
        is_link = found is not None and stat.S_ISLNK(found.st_mode)
        real = os.path.realpath(path) if is_link else path
        is_pending = disk.status(journal_path(real), follows=False) is not None
    if is_pending:
        raise LockedError("an in-place edit of it is unfinished", where=path, hint=recovery_hint(real))
