"""One zip archive of `torch.save`, wherever it lies: the object graph of its pickle, and its storages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.checksums import crc32
from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_nodes import Node, Persistent
from ckpt_surgeon.formats.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from ckpt_surgeon.formats.torch_storage import require_storages
from ckpt_surgeon.formats.zip_reader import Archive, read_archive

__all__ = ["PICKLE", "ZipStorages", "unpack_archive"]

PICKLE: Final = "data.pkl"
_STORAGES: Final = "data/"
# Records which other zip archives of torch have.
_PROGRAMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "constants.pkl": "a TorchScript program",
        "archive_format": "an exported program (.pt2)",
        "serialized_exported_program.json": "an exported program (.pt2)",
        ".data/extern_modules": "a package of torch.package",
    }
)
# ('storage', class, key, location, numel)
_ID_PARTS: Final = 5
_ORDERS: Final = (b"little", b"big")
# torch compresses nothing, but other tools pack its files again, the pickle to about a tenth.
_FREE_UNPACKED_BYTES: Final = 32 * 1024 * 1024
_MAX_UNPACKED: Final = 30


def unpack_archive(place: FileRange) -> tuple[Node, list[Persistent], ZipStorages]:
    """The root of the object graph, all persistent ids in file order (each of a storage which is there), and the storages.

    Raises CorruptError for what is no archive of torch, UnsafeError and LimitError as its zip and its pickle do.
    """
    archive = read_archive(place)
    for record, what in _PROGRAMS.items():
        if record in archive.records:
            raise CorruptError(f"{what}, no checkpoint", hint="save the state_dict of the module instead")
    if PICKLE not in archive.records:
        raise CorruptError("a zip archive without data.pkl: no checkpoint of torch")
    data = _pickle(archive)
    persistents: list[Persistent] = []
    root, end = read_pickle(data, persistents=persistents)
    if end != len(data):
        raise CorruptError(f"data.pkl goes on for {len(data) - end} bytes after its end")
    storages = ZipStorages(archive)
    require_storages(persistents, storages.nbytes, _ID_PARTS)
    return root, persistents, storages


def _pickle(archive: Archive) -> bytes:
    record = archive.records[PICKLE]
    unpacked = MAX_PICKLE_BYTES if record.is_stored else max(_FREE_UNPACKED_BYTES, _MAX_UNPACKED * record.packed)
    allowed = min(MAX_PICKLE_BYTES, unpacked)
    if record.nbytes > allowed:
        raise LimitError(f"data.pkl of {record.packed:,} bytes becomes {record.nbytes:,}: {allowed:,} are allowed")
    return archive.read(PICKLE)


def _byte_order(archive: Archive) -> bytes:
    record = archive.records.get("byteorder")
    if record is None:
        return _ORDERS[0]
    order = archive.read("byteorder") if record.nbytes <= len(_ORDERS[0]) else b"?"
    if order not in _ORDERS:
        raise CorruptError(f"the byte order {order!r} of the file is neither little nor big")
    return order


class ZipStorages:
    """The records `data/KEY` of an archive, which is `archive`."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._intact: set[str] = set()
        order = _byte_order(archive)
        self.is_little = order == _ORDERS[0]
        self.nbytes: Mapping[str, int] = {
            name.removeprefix(_STORAGES): record.nbytes for name, record in archive.records.items() if name.startswith(_STORAGES)
        }

    def span(self, key: str, offset: int, nbytes: int) -> FileRange | None:
        """Bytes of the record in the file, all of them with its checksum; None when it is compressed."""
        span = self.archive.span(_STORAGES + key)
        if span is None or nbytes == self.nbytes[key]:
            return span
        if key not in self._intact:
            self._judge(key, is_intact=self.archive.is_intact(_STORAGES + key))
        return span.part(offset, nbytes)

    def read(self, key: str, offset: int, nbytes: int) -> bytearray:
        """A part of the record, whose checksum is checked the first time; unpacked whole when it is compressed."""
        span = self.span(key, offset, nbytes)
        if span is None:
            return bytearray(self.archive.read(_STORAGES + key, offset, nbytes))
        is_whole = nbytes == self.nbytes[key]  # then it is checked while it is read, once
        buffer = span.file.read_buffer(span.offset, nbytes)
        if is_whole and key not in self._intact:
            self._judge(key, is_intact=self.archive.records[_STORAGES + key].crc in (None, crc32(buffer)))
        return buffer

    def _judge(self, key: str, *, is_intact: bool) -> None:
        if not is_intact:
            raise CorruptError(f"storage {key!r} is damaged: its checksum differs")
        self._intact.add(key)
