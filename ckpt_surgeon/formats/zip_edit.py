"""A zip archive edited in place: another record takes the name of an old one, at the end of the file; no other record moves."""

from __future__ import annotations

import struct
from typing import Final

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.formats.zip_directory import CentralEntry, raw_entries, read_directory
from ckpt_surgeon.formats.zip_reader import Archive
from ckpt_surgeon.formats.zip_writer import end_records, single_record

__all__ = ["REPLACED", "replace_record"]

# What an old record is called once another has its name; as long as `data.pkl`, so that it takes its place in the old header.
REPLACED: Final = "replaced"
# Of the two kinds of headers, the bytes before the name.
_LOCAL_NAME, _CENTRAL_NAME = struct.calcsize("<4s5H3L2H"), struct.calcsize("<4s6H3L5H2L")


def replace_record(archive: Archive, name: str, data: bytes) -> Edit:
    """The edit after which the record `name` holds `data`.

    The old one is overwritten where it is the last; else it stays, as `replaced`: an archive has no bytes which are no record.
    Raises RulesError when it would have to stay, and there is such a record already.
    """
    entries, end = read_directory(archive.place)
    old = next(entry for entry in entries if entry.name == f"{archive.root}/{name}")
    is_last = old.header == max(entry.header for entry in entries)
    if not is_last and (len(name) != len(REPLACED) or REPLACED in archive.records):
        raise RulesError(f"the file holds a record {REPLACED!r} already", hint="write a new file: -o OUT")
    start = old.header if is_last else end
    has_sums = any(record.crc is not None for record in archive.records.values())
    record, central = single_record(old.name, start, data, has_sum=has_sums)
    old_tail = archive.place.read(start, archive.place.nbytes - start)
    kept = _kept(old_tail[end - start :], entries, old, is_last=is_last)
    directory = b"".join([*kept, central])
    tail = record + directory + end_records(len(kept) + 1, len(directory), start + len(record))
    changes = (*(() if is_last else (_renaming(archive.place, old),)), Change(start, old_tail, tail))
    return Edit(changes, archive.place.nbytes, start + len(tail))


def _kept(tail: bytes, entries: list[CentralEntry], old: CentralEntry, *, is_last: bool) -> list[bytes]:
    """The entries of the other records, byte for byte, and of the old one under its new name, unless it goes."""
    found = dict(zip((entry.name for entry in entries), raw_entries(tail, len(entries)), strict=True))
    if is_last:
        del found[old.name]
    else:
        found[old.name] = _renamed(found[old.name], _CENTRAL_NAME, old)
    return list(found.values())


def _renaming(place: FileRange, old: CentralEntry) -> Change:
    """The change of the name in the old record's own header."""
    header = place.read(old.header, _LOCAL_NAME + len(old.raw_name))
    return Change(old.header + _LOCAL_NAME, old.raw_name, _renamed(header, _LOCAL_NAME, old)[_LOCAL_NAME:])


def _renamed(header: bytes, start: int, old: CentralEntry) -> bytes:
    """A header which says `replaced` where it said the old name."""
    end = start + len(old.raw_name)
    return header[: end - len(REPLACED)] + REPLACED.encode() + header[end:]
