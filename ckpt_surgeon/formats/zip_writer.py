"""A streaming writer of zip archives as torch's own lays them out: stored records, each at a multiple of 64 bytes.

Padding stands in an extra field "FB" filled with Z; sizes and checksum follow the bytes in a descriptor (flag bit 3). Times are
zero and the root folder is `archive`, so the same records give the same bytes. Source: caffe2/serialize/inline_container.cc.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from ckpt_surgeon.checksums import crc32
from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.output_file import OutputFile

__all__ = ["ZipLayout", "ZipWriter", "end_records", "single_record"]

_ROOT: Final = "archive"
_ALIGNMENT: Final = 64
_FLAGS: Final = 0x0808  # UTF-8 names, sizes in a descriptor
_SENTINEL: Final = 0xFFFFFFFF
_MAX_COUNT: Final = 0xFFFF

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_DESCRIPTOR: Final = struct.Struct("<4s3L")
_WIDE_DESCRIPTOR: Final = struct.Struct("<4sL2Q")
_PADDING_HEAD: Final = 4  # bytes of the extra field "FB" before its filling
_VERSION64: Final = 45
_WIDE_LOCAL_EXTRA: Final = struct.pack("<2H2Q", 1, 16, 0, 0)


class _Entry(NamedTuple):
    name: bytes
    header: int
    nbytes: int

    @property
    def is_wide(self) -> bool:
        return self.nbytes >= _SENTINEL

    @property
    def local_header(self) -> bytes:
        extra = _WIDE_LOCAL_EXTRA if self.is_wide else b""
        unpadded = self.header + _LOCAL.size + len(self.name) + len(extra) + _PADDING_HEAD
        padding = -unpadded % _ALIGNMENT
        extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding
        size = _SENTINEL if self.is_wide else 0
        return _LOCAL.pack(b"PK\3\4", 0, _FLAGS, 0, 0, 0, 0, size, size, len(self.name), len(extra)) + self.name + extra

    def descriptor(self, crc: int) -> bytes:
        form = _WIDE_DESCRIPTOR if self.is_wide else _DESCRIPTOR
        return form.pack(b"PK\7\x08", crc, self.nbytes, self.nbytes)

    def central(self, crc: int) -> bytes:
        wide = [value for value in (self.nbytes, self.nbytes, self.header) if value >= _SENTINEL]
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        nbytes, header = min(self.nbytes, _SENTINEL), min(self.header, _SENTINEL)
        fields = (0, 0, _FLAGS, 0, 0, 0, crc, nbytes, nbytes, len(self.name), len(extra), 0, 0, 0, 0, header)
        return _CENTRAL.pack(b"PK\1\2", *fields) + self.name + extra

    @property
    def central_nbytes(self) -> int:
        is_far = self.header >= _SENTINEL
        return len(self.central(0)) if self.is_wide or is_far else _CENTRAL.size + len(self.name)

    @property
    def end(self) -> int:
        unpadded = self.header + _LOCAL.size + len(self.name) + (len(_WIDE_LOCAL_EXTRA) if self.is_wide else 0) + _PADDING_HEAD
        return unpadded + -unpadded % _ALIGNMENT + self.nbytes + (_WIDE_DESCRIPTOR if self.is_wide else _DESCRIPTOR).size


class ZipLayout:
    """Where the records of an archive come to lie, known before their bytes: names (below the root) and sizes in bytes, in order."""

    def __init__(self, records: Iterable[tuple[str, int]]) -> None:
        self.entries: list[_Entry] = []
        position = 0
        for name, nbytes in records:
            self.entries.append(_Entry(f"{_ROOT}/{name}".encode(), position, nbytes))
            position = self.entries[-1].end
        self.directory = position

    @property
    def nbytes(self) -> int:
        """The size of the whole archive, in bytes."""
        directory = sum(entry.central_nbytes for entry in self.entries)
        return self.directory + directory + _END64.size + _LOCATOR64.size + _END.size


class ZipWriter:
    """Writes the records of a layout, one after the other, into a new file."""

    def __init__(self, output: OutputFile, layout: ZipLayout, *, checks: bool = False) -> None:
        """checks: compare the bytes of records, too, which move with the checksum that their file states."""
        self._output = output
        self._layout = layout
        self._checks = checks
        self._checksums: list[int] = []

    def write(self, parts: Iterable[Part]) -> None:
        """The next record's bytes. Raises ValueError when they are not as many as the layout says."""
        entry = self._layout.entries[len(self._checksums)]
        self._output.write(entry.local_header)
        start = self._output.position
        crc = self._filled(parts, entry.nbytes)
        if self._output.position - start != entry.nbytes:
            raise ValueError(f"record {entry.name.decode()} has {self._output.position - start} bytes: {entry.nbytes} were promised")
        self._output.write(entry.descriptor(crc))
        self._checksums.append(crc)

    def _filled(self, parts: Iterable[Part], nbytes: int) -> int:
        """Write the parts; their checksum, which that of a record of another file is, when they are all of it."""
        crc = 0
        for part in parts:
            if isinstance(part, FileRange) and part.nbytes == nbytes and part.crc is not None and not self._checks:
                self._output.copy(FileRange(part.file, part.offset, part.nbytes))
                return part.crc
            for piece in _pieces(part):
                self._output.write(piece)
                crc = crc32(piece, crc)
        return crc

    def finish(self) -> None:
        """The directory and the end records. Raises ValueError when records are missing."""
        entries, start = self._layout.entries, self._layout.directory
        if len(self._checksums) != len(entries):
            raise ValueError(f"{len(self._checksums)} of {len(entries)} records were written")
        directory = b"".join(entry.central(crc) for entry, crc in zip(entries, self._checksums, strict=True))
        self._output.write(directory)
        self._output.write(end_records(len(entries), len(directory), start))


def end_records(count: int, nbytes: int, start: int) -> bytes:
    """What stands behind a directory of `count` entries in `nbytes` bytes, which starts at byte `start`."""
    end64 = _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION64, _VERSION64, 0, 0, count, count, nbytes, start)
    locator = _LOCATOR64.pack(b"PK\6\7", 0, start + nbytes, 1)
    short = min(count, _MAX_COUNT)
    return end64 + locator + _END.pack(b"PK\5\6", 0, 0, short, short, min(nbytes, _SENTINEL), min(start, _SENTINEL), 0)


def single_record(name: str, start: int, data: bytes, *, has_sum: bool = True) -> tuple[bytes, bytes]:
    """A record of these bytes which starts at byte `start`: what stands there, and its entry in the directory."""
    entry = _Entry(name.encode(), start, len(data))
    crc = crc32(data) if has_sum else 0
    return entry.local_header + data + entry.descriptor(crc), entry.central(crc)


def _pieces(part: Part) -> Iterable[bytes | bytearray | memoryview]:
    return pieces(part) if isinstance(part, FileRange) else (part,)
