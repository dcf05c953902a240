"""One zip archive of `torch.save`, wherever it lies: the object graph of its pickle, and its storages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_nodes import Node, Persistent
from ckpt_surgeon.formats.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from ckpt_surgeon.formats.torch_storage import require_storage, storage_id
from ckpt_surgeon.formats.zip_reader import Archive, read_archive

__all__ = ["ZipStorages", "unpack_archive"]

_PICKLE: Final = "data.pkl"
_STORAGES: Final = "data/"
_ORDERS: Final = (b"little", b"big")


def unpack_archive(place: FileRange) -> tuple[Node, list[Persistent], ZipStorages]:
    """The root of the object graph, all persistent ids in file order (each of a storage which is there), and the storages.

    Raises CorruptError for what is no archive of torch, UnsafeError and LimitError as its zip and its pickle do.
    """
    archive = read_archive(place)
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
    storages = ZipStorages(archive)
    for node in persistents:
        require_storage(storage_id(node).key, storages.nbytes)
    return root, persistents, storages


def _byte_order(archive: Archive) -> bytes:
    record = archive.records.get("byteorder")
    if record is None:
        return _ORDERS[0]
    order = archive.read("byteorder") if record.nbytes <= len(_ORDERS[0]) else b"?"
    if order not in _ORDERS:
        raise CorruptError(f"the byte order {order!r} of the file is neither little nor big")
    return order


class ZipStorages:
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
