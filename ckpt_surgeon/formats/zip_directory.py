"""The central directory of a zip archive: the end records which lead to it, and its entries. No number is trusted.

Source: APPNOTE.TXT 6.3.10 of PKWARE, sections 4.3.7 to 4.5.3.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError

__all__ = [
    "DEFLATED",
    "DESCRIPTOR_FLAG",
    "STORED",
    "CentralEntry",
    "check_version",
    "extra_blocks",
    "raw_entries",
    "read_directory",
    "widened",
]

STORED: Final = 0
DEFLATED: Final = 8
DESCRIPTOR_FLAG: Final = 0x8

# Encrypted, strongly encrypted, with masked headers.
_ENCRYPTED_FLAGS: Final = 0x1 | 0x40 | 0x2000
_PATCH_FLAG: Final = 0x20
_ZIP64_EXTRA: Final = 1
# Info-ZIP's second name, which some readers prefer: a version and a checksum of 5 bytes, then the name.
_NAME_EXTRA: Final = 0x7075
_NAME_EXTRA_HEAD: Final = 5
_SENTINEL: Final = 0xFFFFFFFF
_WIDE_BYTES: Final = 8
# The highest version which the specification knows (6.3), and which Python's zipfile reads.
_MAX_VERSION: Final = 63

# The directory is held in memory, and so is each entry: 200,000 tensors take 20 MB of it.
_MAX_DIRECTORY_BYTES: Final = 64 * 1024 * 1024
_MAX_ENTRIES: Final = 250_000
# A name is folded, which takes time with the square of its length; a file system knows 255 bytes of each part.
_MAX_NAME_BYTES: Final = 1024
# What deflate can reach; a larger claim is a lie.
_MAX_DEFLATE_RATIO: Final = 1032

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LENGTHS: Final = slice(10, 13)  # of name, extra field and comment, among the numbers of an entry
_EXTRA: Final = struct.Struct("<2H")
_END_SIGNATURE: Final = b"PK\5\6"
# The highest value of each number of the end record, which says that the zip64 end record has the true one.
_END_LIMITS: Final = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, _SENTINEL, _SENTINEL)
# Of the upper half of the outer attributes, where Unix keeps the kind of a file.
_KIND_MASK, _NO_KIND, _FILE_KIND, _FOLDER_KIND = 0o170000, 0, 0o100000, 0o040000
# Of the lower half, where DOS marks a folder; of a record so marked torch's own reader reads no bytes, and hands out whatever memory held.
_FOLDER_MARK: Final = 0x10


class CentralEntry(NamedTuple):
    """A directory entry: what the local header at `header` and the bytes have to agree with.

    A named tuple, as there is one for each tensor: a frozen dataclass takes several times as long to make.
    """

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    nbytes: int
    header: int

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder and has no bytes."""
        return self.name.endswith("/")


def read_directory(place: FileRange) -> tuple[list[CentralEntry], int]:
    """The entries, in their order, and the offset of the directory, where the records end.

    Raises CorruptError, LimitError, or UnsafeError for encryption, links, and names which lead out.
    """
    start, nbytes, count = _find_directory(place)
    if nbytes > _MAX_DIRECTORY_BYTES or count > _MAX_ENTRIES:
        allowed = f"{_MAX_ENTRIES:,} records in {_MAX_DIRECTORY_BYTES:,} bytes are allowed"
        raise LimitError(f"the zip directory has {nbytes:,} bytes for {count:,} records: {allowed}")
    if count * _CENTRAL.size > nbytes:
        raise CorruptError(f"the zip directory ({count} records, {nbytes} bytes at {start}) does not fit into the file")
    entries = list(_entries(place.read(start, nbytes), count))
    if len({_folded(entry.name) for entry in entries}) != len(entries):
        raise CorruptError("the zip archive holds two records of one name")
    return entries, start


def raw_entries(directory: bytes, count: int) -> Iterator[bytes]:
    """The bytes of each of the `count` entries with which `directory` starts; `read_directory` has found them to be sound."""
    position = 0
    for _ in range(count):
        lengths = _CENTRAL.unpack_from(directory, position)[_LENGTHS]
        end = position + _CENTRAL.size + sum(lengths)
        yield directory[position:end]
        position = end


def check_version(version: int, name: str) -> None:
    """CorruptError when a record needs a reader of a version which no specification knows."""
    if version & 0xFF > _MAX_VERSION:
        raise CorruptError(f"record {name!r} of the zip archive needs version {version & 0xFF}; up to {_MAX_VERSION} is known")


def _find_directory(place: FileRange) -> tuple[int, int, int]:
    """Offset and size (bytes) of the central directory, and its number of records; it ends where its end record starts."""
    tail_nbytes = min(place.nbytes, _END64.size + _LOCATOR64.size + _END.size)
    tail = place.read(place.nbytes - tail_nbytes, tail_nbytes)
    if len(tail) < _END.size or tail[-_END.size :][:4] != _END_SIGNATURE:
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


def _entries(directory: bytes, count: int) -> Iterator[CentralEntry]:
    position = 0
    for _ in range(count):
        entry, position = _entry(directory, position)
        yield entry
    if position != len(directory):
        raise CorruptError("the zip directory holds more than its records")


def _entry(directory: bytes, position: int) -> tuple[CentralEntry, int]:
    if position + _CENTRAL.size > len(directory):
        raise CorruptError("the zip directory is cut")
    fields = _CENTRAL.unpack_from(directory, position)
    signature, _, version, flags, method, _, _, crc, packed, nbytes, name_nbytes, extra_nbytes, comment_nbytes, disk, _, outer, header = (
        fields
    )
    extra_start = position + _CENTRAL.size + name_nbytes
    end = extra_start + extra_nbytes + comment_nbytes
    if signature != b"PK\1\2" or end > len(directory):
        raise CorruptError("the zip directory is damaged")
    raw_name = directory[extra_start - name_nbytes : extra_start]
    name = _checked_name(raw_name)
    if _END_SIGNATURE in directory[extra_start:end]:
        raise CorruptError(f"record {name!r} of the zip archive hides a second end record in the directory")
    check_version(version, name)
    blocks = extra_blocks(directory[extra_start : extra_start + extra_nbytes], name)
    (nbytes, packed, header), unused = widened(blocks, (nbytes, packed, header))
    if unused or disk or _SENTINEL in (nbytes, packed, header):
        raise CorruptError(f"record {name!r} of the zip archive lies on another volume, or has more or fewer zip64 numbers than it needs")
    entry = CentralEntry(name, raw_name, flags, method, crc, packed, nbytes, header)
    _check_packing(entry)
    _check_kind(entry, outer)
    return entry, end


def _checked_name(raw: bytes) -> str:
    if len(raw) > _MAX_NAME_BYTES:
        raise LimitError(f"a record of the zip archive has a name of {len(raw):,} bytes: {_MAX_NAME_BYTES:,} are allowed")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptError("a record of the zip archive has a name which is no UTF-8") from error
    is_outside = "\\" in name or "\0" in name
    for segment in name.removesuffix("/").split("/"):
        is_outside |= segment in ("", ".", "..") or _is_drive(segment)
    if is_outside:
        raise UnsafeError(f"record {name!r} of the zip archive has a name which leads out of the archive")
    return name


def _is_drive(segment: str) -> bool:
    return len(segment) == 2 and segment[0].isalpha() and segment[1] == ":"


def _folded(name: str) -> str:
    """The name as the most careless file system compares names: without case, in one form of Unicode, files beside folders."""
    name = name.removesuffix("/")
    return name.lower() if name.isascii() else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def extra_blocks(extra: bytes, name: str) -> dict[int, bytes]:
    """The blocks of an extra field by their kinds; up to 3 bytes at its end may be padding."""
    blocks: dict[int, bytes] = {}
    if not extra:
        return blocks
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, nbytes = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if position + nbytes > len(extra) or (kind in blocks and kind in (_ZIP64_EXTRA, _NAME_EXTRA)):
            raise CorruptError(f"the extra field of record {name!r} runs past its end, or says one thing twice")
        blocks[kind] = extra[position : position + nbytes]
        position += nbytes
    if _NAME_EXTRA in blocks and blocks[_NAME_EXTRA][_NAME_EXTRA_HEAD:] != name.encode():
        raise CorruptError(f"record {name!r} of the zip archive has another name in its extra field")
    return blocks


def widened(blocks: Mapping[int, bytes], fields: tuple[int, int, int]) -> tuple[tuple[int, int, int], bytes]:
    """The fields, those which are 0xFFFFFFFF replaced, in order, by 8-byte values of the zip64 block; and what it has left."""
    wide = blocks.get(_ZIP64_EXTRA, b"")
    if not wide:
        return fields, wide
    values = []
    for value in fields:
        if value == _SENTINEL and len(wide) >= _WIDE_BYTES:
            value, wide = int.from_bytes(wide[:_WIDE_BYTES], "little"), wide[_WIDE_BYTES:]
        values.append(value)
    first, second, third = values
    return (first, second, third), wide


def _check_packing(entry: CentralEntry) -> None:
    name, packed, nbytes = entry.name, entry.packed, entry.nbytes
    if entry.flags & _ENCRYPTED_FLAGS:
        raise UnsafeError(f"record {name!r} of the zip archive is encrypted")
    is_known = entry.method in (STORED, DEFLATED) and not entry.flags & _PATCH_FLAG
    if not is_known or (entry.method == STORED and packed != nbytes):
        raise CorruptError(
            f"record {name!r} of the zip archive has method {entry.method} and sizes {packed}, {nbytes}: stored or deflated is allowed"
        )
    if entry.method == DEFLATED and nbytes > packed * _MAX_DEFLATE_RATIO:
        raise CorruptError(f"record {name!r} of the zip archive claims to unpack from {packed} to {nbytes} bytes, which no record can")


def _check_kind(entry: CentralEntry, outer: int) -> None:
    """A record is a file, or, when its name ends in a slash, a folder, and never a link or a device."""
    kind = outer >> 16 & _KIND_MASK
    if kind not in (_NO_KIND, _FILE_KIND, _FOLDER_KIND):
        raise UnsafeError(f"record {entry.name!r} of the zip archive is a link or a device")
    if (kind == _FOLDER_KIND or outer & _FOLDER_MARK) and not entry.is_folder:
        raise CorruptError(f"record {entry.name!r} of the zip archive is marked as a folder, and has the name of a file")
    if entry.is_folder and (entry.packed or entry.nbytes):
        raise CorruptError(f"record {entry.name!r} of the zip archive is a folder, and has {entry.nbytes} bytes")
