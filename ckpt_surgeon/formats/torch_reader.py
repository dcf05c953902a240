"""TorchReader: a checkpoint in the zip layout of `torch.save` (`.pt .pth .bin .ckpt`), read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_nodes import Persistent
from ckpt_surgeon.formats.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint, Unpacked
from ckpt_surgeon.formats.torch_storage import require_storage, storage_id
from ckpt_surgeon.formats.zip_reader import Archive, read_archive

__all__ = ["TorchReader"]

_PICKLE: Final = "data.pkl"
_STORAGES: Final = "data/"
_ORDERS: Final = (b"little", b"big")


class TorchReader(TorchCheckpoint):
    """A Reader of torch's zip layout. `table`: the dotted path of the table which is meant; None where there is only one."""

    def __init__(self, file: InputFile, table: str | None = None) -> None:
        super().__init__(file, _unpack, "torch", table)


def _unpack(file: InputFile) -> Unpacked:
    archive = read_archive(file.whole)
    if "constants.pkl" in archive.records:
        raise CorruptError("a TorchScript program, no checkpoint", hint="save the state_dict of the module instead")
    if _PICKLE not in archive.records:
        raise CorruptError("a zip archive without data.pkl: no checkpoint of torch")
    nbytes = archive.records[_PICKLE].nbytes
    if nbytes > MAX_PICKLE_BYTES:
        raise LimitError(f"data.pkl has {nbytes:,} bytes: {MAX_PICKLE_BYTES:,} are allowed")
    data = archive.read(_PICKLE)
    persistents: list[Persistent] = []
    root, end = read_pickle(data, persistents=persistents)
    if end != len(data):
        raise CorruptError(f"data.pkl goes on for {len(data) - end} bytes after its end")
    storages = _ZipStorages(archive)
    for node in persistents:
        require_storage(storage_id(node).key, storages.nbytes)
    return root, storages


def _byte_order(archive: Archive) -> bytes:
    record = archive.records.get("byteorder")
    if record is None:
        return _ORDERS[0]
    order = archive.read("byteorder") if record.nbytes <= len(_ORDERS[0]) else b"?"
    if order not in _ORDERS:
        raise CorruptError(f"the byte order {order!r} of the file is neither little nor big")
    return order


class _ZipStorages:
    """The records `data/KEY` of an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._intact: set[str] = set()
        order = _byte_order(archive)
        self.is_little = order == _ORDERS[0]
        self.nbytes: Mapping[str, int] = {
            name.removeprefix(_STORAGES): record.nbytes for name, record in archive.records.items() if name.startswith(_STORAGES)
        }

    def span(self, key: str) -> FileRange | None:
        """The record in the file, whose checksum is checked the first time: who asks will copy. None when it is compressed."""
        span = self._archive.span(_STORAGES + key)
        if span is None or key in self._intact:
            return span
        if not self._archive.is_intact(_STORAGES + key):
            raise CorruptError(f"storage {key!r} is damaged: its checksum differs")
        self._intact.add(key)
        return span

    def read(self, key: str, offset: int, nbytes: int) -> bytes:
        """A part of the record, whose checksum is checked the first time; unpacked whole when it is compressed."""
        span = None if nbytes == self.nbytes[key] else self.span(key)
        if span is None:
            return self._archive.read(_STORAGES + key)[offset : offset + nbytes]
        return span.read(offset, nbytes)
