"""Whatever a user may hand in (a path, a URL, a state_dict, a module, a factory, a Header) -> an open Reader."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon.errors import DiskError, ModelError
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    import torch

    from ckpt_surgeon.disk import FileRange

__all__ = ["Progress", "header_of", "is_factory", "open_source", "split_table"]

Progress = Callable[[int, int | None], None]

_URL = re.compile(r"https?://", re.IGNORECASE)


class HeaderReader:
    """A header without weights: a model to be, or a Header given as a value."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def read(self, key: str) -> torch.Tensor:
        raise ModelError(f"{key}: only the header is known here, there are no weights to read")

    def read_opaque(self, key: str) -> Any:
        raise ModelError(f"{key}: only the header is known here, there are no weights to read")

    def span(self, key: str) -> FileRange | None:
        return None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_source(given: Any, *, arguments: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Reader:
    """Open what a user gave.

    given: a path (`PATH#table` picks a table of the envelope), an http(s) URL, `pkg.module:factory` (built on the meta
    device with `arguments`), a state_dict, an nn.Module, or a Header. An existing path wins over both `a:b` and `a#b`.
    Raises DiskError (no such file), ModelError, CorruptError and the other errors of the formats.
    """
    if isinstance(given, Header):
        return HeaderReader(given)
    if isinstance(given, str | os.PathLike):
        return _open_name(os.fspath(given), arguments or {}, progress)
    from ckpt_surgeon.model import StateDictReader

    return StateDictReader(given) if isinstance(given, Mapping) else StateDictReader.of_module(given)


def header_of(given: Any, *, arguments: Mapping[str, Any] | None = None) -> Header:
    """The header of what a user gave; see `open_source`."""
    if isinstance(given, Header):
        return given
    with open_source(given, arguments=arguments) as reader:
        return reader.header


def is_factory(name: str) -> bool:
    """Whether a name is `pkg.module:factory` and no existing path."""
    from ckpt_surgeon.model import is_spec

    return is_spec(name) and not os.path.lexists(name)


def split_table(name: str) -> tuple[str, str | None]:
    """`PATH#table` -> its two halves; the table is None where there is none, or where the whole is an existing path."""
    path, mark, table = name.rpartition("#")
    if not mark or os.path.lexists(name) or not path:
        return name, None
    return path, table


def _open_name(name: str, arguments: Mapping[str, Any], progress: Progress | None) -> Reader:
    from ckpt_surgeon.formats.opening import open_checkpoint

    if is_factory(name):
        from ckpt_surgeon.model import build, header_of_module

        return HeaderReader(header_of_module(build(name, arguments)))
    path, table = split_table(name)
    if _URL.match(path):
        from ckpt_surgeon.fetch import fetch

        path = fetch(path, progress=progress)
    elif not os.path.lexists(path):
        raise DiskError("no such file or folder", where=path, hint="a model is written `pkg.module:factory`")
    return open_checkpoint(path, table)
