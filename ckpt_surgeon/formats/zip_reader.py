"""A strict, minimal reader of zip archives as torch lays them out: record name -> where its bytes lie. No number is trusted."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError

__all__ = ["Archive", "Record", "read_archive"]

_STORED: Final = 0
_DEFLATED: Final = 8
_ENCRYPTED_FLAG: Final = 0x1
_DESCRIPTOR_FLAG: Final = 0x8
_ZIP64_EXTRA: Final = 1
_SENTINEL: Final = 0xFFFFFFFF
_WIDE_BYTES: Final = 8

# The directory is held in memory; 100,000 tensors take 10 MB.
_MAX_DIRECTORY_BYTES: Final = 256 * 1024 * 1024
# What deflate can reach; a larger claim is a lie.
_MAX_DEFLATE_RATIO: Final = 1032

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_EXTRA: Final = struct.Struct("<2H")
# The highest value of each number of the end record, which says that the zip64 end record has the true one.
_END_LIMITS: Final = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, _SENTINEL, _SENTINEL)
# After the bytes of a record: an optional signature, the checksum, both sizes of 4 or 8 bytes.
_DESCRIPTORS: Final = tuple(struct.Struct(form) for form in ("<4sL2L", "<4sL2Q", "<L2L", "<L2Q"))
_DESCRIPTOR_SIGNATURE: Final = b"PK\7\x08"


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the archive: `packed` bytes at `offset`, which are `nbytes` once unpacked."""

    name: str
    offset: int
    packed: int
    nbytes: int
    crc: int
    method: int

    @property
    def is_stored(self) -> bool:
        """Whether the bytes lie there as they are."""
        return self.method == _STORED


@dataclass(frozen=True, slots=True)
class Archive:
    """The records of an archive by their names below its one root folder. `place`: the bytes which are the archive."""

    place: FileRange
    root: str
    records: dict[str, Record]

    def read(self, name: str) -> bytes:
        """A whole record, unpacked; its checksum is checked. KeyError for a name which is not there."""
        record = self.records[name]
        raw = self.place.read(record.offset, record.packed)
        data = raw if record.is_stored else _inflate(record, raw)
        if zlib.crc32(data) != record.crc:
            raise CorruptError(f"record {record.name!r} is damaged: its checksum differs")
        return data

    def span(self, name: str) -> FileRange | None:
        """Where the bytes of a record lie; None when they are compressed."""
        record = self.records[name]
        return self.place.part(record.offset, record.nbytes) if record.is_stored else None

    def is_intact(self, name: str) -> bool:
        """Whether the checksum of a stored record is that of its bytes, read a piece at a time."""
        record, crc = self.records[name], 0
        for piece in pieces(self.place.part(record.offset, record.packed)):
            crc = zlib.crc32(piece, crc)
        return crc == record.crc


def _inflate(record: Record, raw: bytes) -> bytes:
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = machine.decompress(raw, record.nbytes + 1)
    except zlib.error as error:
        raise CorruptError(f"record {record.name!r} cannot be unpacked: {error}") from error
    if len(data) != record.nbytes or not machine.eof or machine.unused_data:
        raise CorruptError(f"record {record.name!r} does not unpack to the {record.nbytes} bytes which the directory promises")
    return data


def read_archive(place: FileRange) -> Archive:
    """The directory of the zip archive in a file, or in a part of one.

    Raises CorruptError for what is no sound archive with one root folder, UnsafeError for encryption and for names which lead out.
    """
    start, nbytes, count = _find_directory(place)
    if nbytes > _MAX_DIRECTORY_BYTES:
        raise LimitError(f"the zip directory has {nbytes:,} bytes: {_MAX_DIRECTORY_BYTES:,} are allowed")
    if start + nbytes > place.nbytes or count * _CENTRAL.size > nbytes:
        raise CorruptError(f"the zip directory ({count} records, {nbytes} bytes at {start}) does not fit into the file")
    records = _located(place, _central_records(place.read(start, nbytes), count), start)
    roots = {name.partition("/")[0] for name in records}
    if len(roots) != 1 or any("/" not in name for name in records):
        raise CorruptError("the zip archive does not have one root folder, which every checkpoint of torch has")
    root = roots.pop()
    return Archive(place, root, {name[len(root) + 1 :]: record for name, record in records.items() if not name.endswith("/")})


def _find_directory(place: FileRange) -> tuple[int, int, int]:
    """Offset and size (bytes) of the central directory, and its number of records."""
    tail_nbytes = min(place.nbytes, _END64.size + _LOCATOR64.size + _END.size)
    tail = place.read(place.nbytes - tail_nbytes, tail_nbytes)
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        raise CorruptError("the zip archive has no directory at its end: it is cut, or something was appended")
    _, disk, first_disk, here, count, nbytes, start, comment = _END.unpack(tail[-_END.size :])
    end = place.nbytes - _END.size
    rest = tail[: -_END.size]
    if rest[-_LOCATOR64.size :][:4] == b"PK\6\7":
        short = (disk, first_disk, here, count, nbytes, start)
        disk, first_disk, here, count, nbytes, start = wide = _read_end64(rest, end)
        if any(value not in (limit, min(true, limit)) for value, true, limit in zip(short, wide, _END_LIMITS, strict=True)):
            raise CorruptError("the two end records of the zip archive differ")
        end -= _LOCATOR64.size + _END64.size
    if disk or first_disk or comment or here != count:
        raise CorruptError("the zip archive is one of several volumes, or carries a comment: torch writes neither")
    if start + nbytes != end:
        raise CorruptError(f"the zip directory ends at byte {start + nbytes}, and its end record starts at byte {end}")
    return start, nbytes, count


def _read_end64(rest: bytes, end: int) -> tuple[int, int, int, int, int, int]:
    if len(rest) < _END64.size + _LOCATOR64.size:
        raise CorruptError("the zip64 end record is cut")
    _, disk, offset, disks = _LOCATOR64.unpack(rest[-_LOCATOR64.size :])
    signature, size, _, _, own_disk, first_disk, here, count, nbytes, start = _END64.unpack(rest[: _END64.size])
    is_sound = signature == b"PK\6\6" and size == _END64.size - 12 and offset == end - _LOCATOR64.size - _END64.size
    if not is_sound or disk or disks > 1:
        raise CorruptError("the zip64 end record is not where its locator says, or not of the known size")
    return own_disk, first_disk, here, count, nbytes, start


@dataclass(frozen=True, slots=True)
class _Central:
    """A directory entry: what the local header and the bytes have to agree with."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    nbytes: int
    header: int


def _central_records(directory: bytes, count: int) -> list[_Central]:
    entries, position = [], 0
    for _ in range(count):
        entry, position = _central_record(directory, position)
        entries.append(entry)
    if position != len(directory):
        raise CorruptError("the zip directory holds more than its records")
    folded = {entry.name.casefold() for entry in entries}
    if len(folded) != len(entries):
        raise CorruptError("the zip archive holds two records of one name")
    return entries


def _central_record(directory: bytes, position: int) -> tuple[_Central, int]:
    if position + _CENTRAL.size > len(directory):
        raise CorruptError("the zip directory is cut")
    (signature, _, _, flags, method, _, _, crc, packed, nbytes, *lengths, _, _, _, header) = _CENTRAL.unpack_from(directory, position)
    name_nbytes, extra_nbytes, comment_nbytes = lengths
    name_start = position + _CENTRAL.size
    extra_start = name_start + name_nbytes
    end = extra_start + extra_nbytes + comment_nbytes
    if signature != b"PK\1\2" or end > len(directory):
        raise CorruptError("the zip directory is damaged")
    raw_name = directory[name_start:extra_start]
    name = _checked_name(raw_name)
    extra = directory[extra_start : extra_start + extra_nbytes]
    nbytes, packed, header = _widened(extra, nbytes, packed, header)
    if flags & _ENCRYPTED_FLAG:
        raise UnsafeError(f"record {name!r} of the zip archive is encrypted")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and packed != nbytes):
        raise CorruptError(
            f"record {name!r} of the zip archive has method {method} and sizes {packed}, {nbytes}: stored or deflated is allowed"
        )
    if method == _DEFLATED and nbytes > packed * _MAX_DEFLATE_RATIO:
        raise CorruptError(f"record {name!r} of the zip archive claims to unpack from {packed} to {nbytes} bytes, which no record can")
    return _Central(name, raw_name, flags, method, crc, packed, nbytes, header), end


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptError("a record of the zip archive has a name which is no UTF-8") from error
    segments = name.removesuffix("/").split("/")
    if any(segment in ("", ".", "..") for segment in segments) or "\\" in name or "\0" in name:
        raise UnsafeError(f"record {name!r} of the zip archive has a name which leads out of the archive")
    return name


def _widened(extra: bytes, *fields: int) -> tuple[int, int, int]:
    """The fields, those which are 0xFFFFFFFF replaced, in order, by the 8-byte values of the zip64 extra block."""
    wide, position = b"", 0
    while position + _EXTRA.size <= len(extra):
        kind, nbytes = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            wide = extra[position : position + nbytes]
        position += nbytes
    values = []
    for value in fields:
        if value == _SENTINEL and len(wide) >= _WIDE_BYTES:
            value, wide = int.from_bytes(wide[:_WIDE_BYTES], "little"), wide[_WIDE_BYTES:]
        values.append(value)
    first, second, third = values
    return first, second, third


def _located(place: FileRange, entries: list[_Central], end: int) -> dict[str, Record]:
    """Each entry with its local header checked and its bytes found; none overlaps another or the directory."""
    records, free = {}, 0
    for entry in sorted(entries, key=lambda entry: entry.header):
        if entry.header < free:
            raise CorruptError(f"record {entry.name!r} of the zip archive overlaps another")
        offset = _check_local(place, entry, end)
        free = offset + entry.packed
        if free > end:
            raise CorruptError(f"record {entry.name!r} of the zip archive runs into the directory")
        if entry.flags & _DESCRIPTOR_FLAG:
            free += _check_descriptor(entry, place.read(free, min(_DESCRIPTORS[1].size, end - free)))
        records[entry.name] = Record(entry.name, offset, entry.packed, entry.nbytes, entry.crc, entry.method)
    return {entry.name: records[entry.name] for entry in entries}


def _check_descriptor(entry: _Central, data: bytes) -> int:
    """The bytes of the descriptor after a record, once it says what the directory says."""
    told = (entry.crc, entry.packed, entry.nbytes)
    for form in _DESCRIPTORS:
        if len(data) < form.size:
            continue
        *signature, crc, packed, nbytes = form.unpack_from(data)
        if signature in ([], [_DESCRIPTOR_SIGNATURE]) and (crc, packed, nbytes) == told:
            return form.size
    raise CorruptError(f"the zip directory and what follows record {entry.name!r} differ in size or checksum")


def _check_local(place: FileRange, entry: _Central, end: int) -> int:
    """The offset of the entry's bytes, once its local header agrees with the directory."""
    start = entry.header + _LOCAL.size
    if start + len(entry.raw_name) > end:
        raise CorruptError(f"record {entry.name!r} of the zip archive starts past the end")
    header = place.read(entry.header, _LOCAL.size + len(entry.raw_name))
    signature, _, flags, method, _, _, crc, packed, nbytes, name_nbytes, extra_nbytes = _LOCAL.unpack_from(header)
    if signature != b"PK\3\4" or header[_LOCAL.size :] != entry.raw_name or name_nbytes != len(entry.raw_name):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in name or place")
    if (flags, method) != (entry.flags, entry.method):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in flags or method")
    offset = start + int(name_nbytes) + int(extra_nbytes)
    if offset > end:
        raise CorruptError(f"record {entry.name!r} of the zip archive runs into the directory")
    extra = place.read(start + name_nbytes, extra_nbytes) if _SENTINEL in (packed, nbytes) else b""
    nbytes, packed, _ = _widened(extra, nbytes, packed, 0)
    is_described_later = bool(flags & _DESCRIPTOR_FLAG) and not (crc or packed or nbytes)
    if not is_described_later and (crc, packed, nbytes) != (entry.crc, entry.packed, entry.nbytes):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in size or checksum")
    return offset
