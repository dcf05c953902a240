"""A rules file which a command writes."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["write_rules"]


def write_rules(path: str, text: str, force: bool, names: Iterable[str | None]) -> None:
    """Write the text, whole or not at all. names: what else stands on the command line; the files among it are never replaced.

    Raises DiskError; without `force` also for a file which is there.
    """
    from ckpt_surgeon.output_file import OutputFile
    from ckpt_surgeon.publishing import publish_file
    from ckpt_surgeon.sources import split_table

    words = [split_table(name)[0] for name in names if name is not None]
    read = [word for word in words if os.path.lexists(word)]
    with publish_file(path, force=force, sources=read) as temporary, OutputFile(temporary) as file:
        file.write(text.encode("utf-8"))
        file.sync()
