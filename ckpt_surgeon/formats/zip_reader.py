"""A strict, minimal reader of zip archives as torch lays them out: record name -> where its bytes lie. No number is trusted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ckpt_surgeon.checksums import crc32
from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.zip_directory import (
    DESCRIPTOR_FLAG,
    STORED,
    CentralEntry,
    check_version,
    extra_blocks,
    read_directory,
    widened,
)
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Archive", "Record", "read_archive"]

_LOCAL: Final = struct.Struct("<4s5H3L2H")
# After the bytes of a record: an optional signature, the checksum, both sizes of 4 or 8 bytes; by its own size in bytes.
_DESCRIPTORS: Final = {form.size: form for form in map(struct.Struct, ("<4sL2L", "<4sL2Q", "<L2L", "<L2Q"))}
_DESCRIPTOR_SIGNATURE: Final = b"PK\7\x08"
# Read at once of the headers: that of a record of a few bytes and the next ones, or what stands behind the bytes of a large one and
# the next header. More of it would be weights.
_WINDOW_BYTES: Final = 8 * 1024
# Unpacked at once: a part of a record is all that is held of it.
_PIECE_BYTES: Final = 256 * 1024


class Record(NamedTuple):
    """One file of the archive: `packed` bytes at `offset`, which are `nbytes` once unpacked. `crc`: None where none was made.

    A named tuple, as there is one for each tensor.
    """

    name: str
    offset: int
    packed: int
    nbytes: int
    crc: int | None
    method: int

    @property
    def is_stored(self) -> bool:
        """Whether the bytes lie there as they are."""
        return self.method == STORED


@dataclass(frozen=True, slots=True)
class Archive:
    """The records of an archive by their names below its one root folder. `place`: the bytes which are the archive."""

    place: FileRange
    root: str
    records: dict[str, Record]

    def read(self, name: str, offset: int = 0, nbytes: int | None = None) -> bytes:
        """A record, or `nbytes` bytes from `offset` of it, unpacked; the checksum of the whole is checked.

        Raises KeyError for a name which is not there, CorruptError for a damaged record.
        """
        record = self.records[name]
        end = record.nbytes if nbytes is None else offset + nbytes
        crc, position, kept = 0, 0, []
        whole = [self.place.read(record.offset, record.packed)] if record.is_stored else self._unpacked(record)
        for piece in whole:
            crc = crc32(piece, crc)
            kept.append(piece[max(offset - position, 0) : max(end - position, 0)])
            position += len(piece)
        if record.crc not in (None, crc):
            raise CorruptError(f"record {record.name!r} is damaged: its checksum differs")
        return b"".join(kept)

    def span(self, name: str) -> FileRange | None:
        """Where the bytes of a record lie, with their checksum; None when they are compressed."""
        record = self.records[name]
        if not record.is_stored:
            return None
        part = self.place.part(record.offset, record.nbytes)
        return FileRange(part.file, part.offset, part.nbytes, record.crc)

    def is_intact(self, name: str) -> bool:
        """Whether the checksum of a record, where there is one, is that of its bytes, read a piece at a time."""
        record, crc = self.records[name], 0
        if record.crc is None:
            return True
        for piece in self._unpacked(record):
            crc = crc32(piece, crc)
        return crc == record.crc

    def _unpacked(self, record: Record) -> Iterator[bytes]:
        packed = pieces(self.place.part(record.offset, record.packed))
        return packed if record.is_stored else _inflated(record, packed)


def _inflated(record: Record, packed: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a compressed record, a piece at a time, up to the size which the directory promises."""
    machine, rest = zlib.decompressobj(-zlib.MAX_WBITS), record.nbytes
    misfit = CorruptError(f"record {record.name!r} does not unpack to the {record.nbytes} bytes which the directory promises")
    try:
        for data in packed:
            while data:
                piece = machine.decompress(data, _PIECE_BYTES)
                data, rest = machine.unconsumed_tail, rest - len(piece)
                if rest < 0 or machine.unused_data:
                    raise misfit
                yield piece
    except zlib.error as error:
        raise CorruptError(f"record {record.name!r} cannot be unpacked: {error}") from error
    if rest or not machine.eof:
        raise misfit


def read_archive(place: FileRange) -> Archive:
    """The directory of the zip archive in a file, or in a part of one.

    Raises CorruptError for what is no sound archive with one root folder, LimitError, UnsafeError for encryption, links, and
    names which lead out.
    """
    entries, end = read_directory(place)
    records = _located(place, entries, end)
    roots = {name.partition("/")[0] for name in records}
    if len(roots) != 1 or any("/" not in name for name in records):
        raise CorruptError("the zip archive does not have one root folder, which every checkpoint of torch has")
    root = roots.pop()
    return Archive(place, root, {name[len(root) + 1 :]: record for name, record in records.items() if not name.endswith("/")})


def _located(place: FileRange, entries: list[CentralEntry], end: int) -> dict[str, Record]:
    """Each entry with its local header checked and its bytes found; they follow one another from the first byte to `end`."""
    has_sums = not all(_is_unsummed(entry) for entry in entries)
    ordered = sorted(entries, key=lambda entry: entry.header)
    starts = [entry.header for entry in ordered]
    if starts[:1] not in ([], [0]):
        raise CorruptError(f"the zip archive starts with {starts[0]} bytes which are no record")
    records = {}
    window = _Window(place)
    for entry, following in zip(ordered, [*starts[1:], end], strict=False):
        offset = _check_local(window, entry, following)
        _check_rest(window, entry, offset + entry.packed, following)
        crc = entry.crc if has_sums else None
        records[entry.name] = Record(entry.name, offset, entry.packed, entry.nbytes, crc, entry.method)
    return {entry.name: records[entry.name] for entry in entries}


class _Window:
    """Reads of a few bytes each, the next one mostly a little further on: those which lie close together are one read of the file."""

    def __init__(self, place: FileRange) -> None:
        self._place = place
        self._start = 0
        self._data = b""

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes from `offset` bytes into the place."""
        start = offset - self._start
        if start < 0 or start + nbytes > len(self._data):
            start, self._start = 0, offset
            self._data = self._place.read(offset, max(nbytes, min(_WINDOW_BYTES, self._place.nbytes - offset)))
        return self._data[start : start + nbytes]


def _is_unsummed(entry: CentralEntry) -> bool:
    """Whether it may come from torch when told to compute no checksums (`config.save.compute_crc32`): all are 0 then."""
    return not entry.crc and (not entry.nbytes or bool(entry.flags & DESCRIPTOR_FLAG))


def _check_local(window: _Window, entry: CentralEntry, following: int) -> int:
    """The offset of the entry's bytes, once its local header agrees with the directory."""
    start = entry.header + _LOCAL.size + len(entry.raw_name)
    if start > following:
        raise CorruptError(f"record {entry.name!r} of the zip archive overlaps what follows it, or starts past the end")
    header = window.read(entry.header, _LOCAL.size + len(entry.raw_name))
    signature, version, flags, method, _, _, crc, packed, nbytes, name_nbytes, extra_nbytes = _LOCAL.unpack_from(header)
    if signature != b"PK\3\4" or header[_LOCAL.size :] != entry.raw_name or name_nbytes != len(entry.raw_name):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in name or place")
    if (flags, method) != (entry.flags, entry.method):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in flags or method")
    check_version(version, entry.name)
    offset = start + int(extra_nbytes)
    if offset + entry.packed > following:
        raise CorruptError(f"record {entry.name!r} of the zip archive overlaps what follows it")
    blocks = extra_blocks(window.read(start, extra_nbytes), entry.name)
    (nbytes, packed, _), _ = widened(blocks, (nbytes, packed, 0))
    is_described_later = bool(flags & DESCRIPTOR_FLAG) and not (crc or packed or nbytes)
    if not is_described_later and (crc, packed, nbytes) != (entry.crc, entry.packed, entry.nbytes):
        raise CorruptError(f"the zip directory and the header of record {entry.name!r} differ in size or checksum")
    return offset


def _check_rest(window: _Window, entry: CentralEntry, position: int, following: int) -> None:
    """CorruptError unless just a record's descriptor, if it has one, which says what the directory says, stands behind its bytes."""
    room = following - position
    if not entry.flags & DESCRIPTOR_FLAG:
        if room:
            raise CorruptError(f"{room} bytes which are no record follow record {entry.name!r} of the zip archive")
        return
    form = _DESCRIPTORS.get(room)
    *signature, crc, packed, nbytes = form.unpack(window.read(position, room)) if form else (b"", 0, 0, 0)
    is_sound = form is not None and signature in ([], [_DESCRIPTOR_SIGNATURE])
    if not is_sound or (crc, packed, nbytes) != (entry.crc, entry.packed, entry.nbytes):
        raise CorruptError(f"the zip directory and what follows record {entry.name!r} differ in size or checksum")
