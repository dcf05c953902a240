"""Zip archives field by field: sound ones in every form which writers use, and each number, name and place of them changed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from chance import Chance
from real_files import torch_files

__all__ = ["Archive", "Record", "archive", "records_of"]

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
# The fields of each structure in their order, and their widths in bytes.
_LOCAL_FIELDS = ("version", "flags", "method", "time", "date", "crc", "packed", "nbytes", "name_nbytes", "extra_nbytes")
_CENTRAL_FIELDS = ("by", *_LOCAL_FIELDS, "comment_nbytes", "disk", "inner", "outer", "header")
_END_FIELDS = ("disk", "first", "here", "count", "nbytes", "start", "comment_nbytes")
_END64_FIELDS = ("size", "by", "version", "disk", "first", "here", "count", "nbytes", "start")
_LOCATOR_FIELDS = ("disk", "end64", "disks")
_WIDE = ("crc", "packed", "nbytes", "outer", "header", "start", "end64", "size")
_DESCRIBED_LATER, _NAME_IS_UTF8, _DEFLATED, _SENTINEL = 0x8, 0x800, 8, 0xFFFFFFFF

_Changes = Mapping[str, int]


@dataclass(frozen=True)
class Record:
    """A file of the archive.

    form: 0 sizes in both headers, 1 with a descriptor as torch writes it, 2 with zip64 extras. local, central: fields which lie.
    """

    name: str
    data: bytes
    form: int = 0
    method: int = 0
    local: _Changes = field(default_factory=dict)
    central: _Changes = field(default_factory=dict)
    descriptor: bytes | None = None
    padding: int = 0
    is_listed: bool = True
    raw_name: bytes | None = None

    @property
    def packed(self) -> bytes:
        """The bytes as they lie in the file."""
        if self.method != _DEFLATED:
            return self.data
        machine = zlib.compressobj(6, wbits=-15)
        return machine.compress(self.data) + machine.flush()

    def parts(self, header: int) -> tuple[bytes, bytes]:
        """(local header, bytes and descriptor), (directory entry) of a record which starts at byte `header`."""
        packed, name = self.packed, self.raw_name or self.name.encode()
        crc, flags = zlib.crc32(self.data), _DESCRIBED_LATER | _NAME_IS_UTF8 if self.form == 1 else 0
        sizes = {"crc": crc, "packed": len(packed), "nbytes": len(self.data)}
        common = {**dict.fromkeys(_CENTRAL_FIELDS, 0), "flags": flags, "method": self.method, "name_nbytes": len(name), "header": header}
        wide = struct.pack("<2H2Q", 1, 16, len(self.data), len(packed)) if self.form == 2 else b""
        sentinels = {"packed": _SENTINEL, "nbytes": _SENTINEL} if self.form == 2 else {}
        padding = struct.pack("<2s H", b"FB", self.padding) + b"Z" * self.padding if self.padding else b""
        written = dict.fromkeys(sizes, 0) if self.form == 1 else sizes
        local = {**common, **written, **sentinels, "extra_nbytes": len(wide + padding), **self.local}
        central = {**common, **sizes, **sentinels, "extra_nbytes": len(wide), **self.central}
        descriptor = b"PK\7\x08" + struct.pack("<3L", crc, len(packed), len(self.data)) if self.form == 1 else b""
        body = packed + (descriptor if self.descriptor is None else self.descriptor)
        first = _LOCAL.pack(b"PK\3\4", *_packable(_LOCAL_FIELDS, local)) + name + wide + padding + body
        return first, _CENTRAL.pack(b"PK\1\2", *_packable(_CENTRAL_FIELDS, central)) + name + wide


def _packable(names: tuple[str, ...], values: _Changes) -> list[int]:
    return [values[name] % (1 << (32 if name in _WIDE else 16)) for name in names]


@dataclass(frozen=True)
class Archive:
    """The records in their order in the file. end, end64, locator: fields which lie; gap: bytes between directory and end."""

    records: list[Record]
    is_wide: bool = False
    end: _Changes = field(default_factory=dict)
    end64: _Changes = field(default_factory=dict)
    locator: _Changes = field(default_factory=dict)
    listing: tuple[int, ...] | None = None
    gap: bytes = b""

    def data(self) -> bytes:
        """The bytes of the file."""
        body, entries = bytearray(), []
        for record in self.records:
            local, central = record.parts(len(body))
            body += local
            entries += [central] if record.is_listed else []
        order = range(len(entries)) if self.listing is None else [index % max(len(entries), 1) for index in self.listing]
        listed = [entries[index] for index in order] if entries else []
        directory, start = b"".join(listed), len(body)
        counts = {"here": len(listed), "count": len(listed), "nbytes": len(directory), "start": start}
        body += directory + self.gap
        if self.is_wide:
            values = {**dict.fromkeys(_END64_FIELDS, 0), "size": 44, "by": 798, "version": 45, **counts, **self.end64}
            place = {"disk": 0, "end64": len(body), "disks": 1, **self.locator}
            body += _END64.pack(b"PK\6\6", *_fitting(_END64_FIELDS, values, (8, 2, 2, 4, 4, 8, 8, 8, 8)))
            body += _LOCATOR64.pack(b"PK\6\7", *_fitting(_LOCATOR_FIELDS, place, (4, 8, 4)))
        values = {**dict.fromkeys(_END_FIELDS, 0), **counts, **self.end}
        return bytes(body) + _END.pack(b"PK\5\6", *_fitting(_END_FIELDS, values, (2, 2, 2, 2, 4, 4, 2)))


def _fitting(names: tuple[str, ...], values: _Changes, widths: tuple[int, ...]) -> list[int]:
    return [values[name] % (1 << 8 * width) for name, width in zip(names, widths, strict=True)]


def records_of(data: bytes) -> list[Record]:
    """The records of a file of torch, as torch wrote them."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return [Record(name, opened.read(name), form=1, padding=8) for name in opened.namelist()]


@cache
def _stock() -> tuple[list[Record], ...]:
    """The records of the files of protocol 2, which torch's own reader takes."""
    return tuple(records_of(data) for data in torch_files(is_older=False)[::6])


def archive(chance: Chance) -> Mapping[str, bytes]:
    """A file of torch: its records in any form, then some of its fields, names, places or bytes changed."""
    files = torch_files(is_older=False)
    if chance.one_in(6):
        return {"x.pt": chance.edited(chance.choice(files), chance.choice(files))}
    records = [_formed(chance, record) for record in chance.choice(_stock())]
    found = Archive(records, is_wide=chance.one_in(2))
    for _ in range(chance.few() if not chance.one_in(4) else 0):
        found = chance.choice(_CHANGES)(chance, found)
    data = found.data()
    return {"x.pt": chance.edited(data, chance.choice(files)) if chance.one_in(16) else data}


def _formed(chance: Chance, record: Record) -> Record:
    method = _DEFLATED if chance.one_in(12) else 0
    return replace(record, form=chance.choice((0, 1, 1, 1, 2)), method=method, padding=chance.choice((0, 0, 60)))


# Changes


def _at_one(chance: Chance, found: Archive, **changes: object) -> Archive:
    at = chance.below(len(found.records))
    records = [replace(record, **changes) if index == at else record for index, record in enumerate(found.records)]  # type: ignore[arg-type]
    return replace(found, records=records)


def _local_field(chance: Chance, found: Archive) -> Archive:
    name = chance.choice(_LOCAL_FIELDS)
    return _at_one(chance, found, local={name: chance.number_near(chance.below(300))})


def _central_field(chance: Chance, found: Archive) -> Archive:
    name = chance.choice(_CENTRAL_FIELDS)
    return _at_one(chance, found, central={name: chance.number_near(chance.below(300))})


def _both_fields(chance: Chance, found: Archive) -> Archive:
    changes = {chance.choice(_LOCAL_FIELDS): chance.number_near(chance.below(300))}
    return _at_one(chance, found, local=changes, central=changes)


def _end_field(chance: Chance, found: Archive) -> Archive:
    return replace(found, end={chance.choice(_END_FIELDS): chance.number_near(chance.below(1000))})


def _sentinels(chance: Chance, found: Archive) -> Archive:
    """The end record as it is where only the zip64 one has the true numbers."""
    names = chance.sample(_END_FIELDS[:6], chance.below(6) + 1)
    return replace(found, end=dict.fromkeys(names, -1), is_wide=not chance.one_in(8))


def _end64_field(chance: Chance, found: Archive) -> Archive:
    return replace(found, is_wide=True, end64={chance.choice(_END64_FIELDS): chance.number_near(chance.below(1000))})


def _locator_field(chance: Chance, found: Archive) -> Archive:
    return replace(found, is_wide=True, locator={chance.choice(_LOCATOR_FIELDS): chance.number_near(chance.below(1000))})


def _order(chance: Chance, found: Archive) -> Archive:
    return replace(found, records=chance.rearranged(found.records, chance.choice(_stock())) or found.records)


def _listing(chance: Chance, found: Archive) -> Archive:
    return replace(found, listing=tuple(chance.rearranged(range(len(found.records)), (0, 1))))


def _unlisted(chance: Chance, found: Archive) -> Archive:
    return _at_one(chance, found, is_listed=False)


def _name(chance: Chance, found: Archive) -> Archive:
    names = (
        "../x",
        "/x",
        "archive/../x",
        "archive/DATA.PKL",
        "archive/data/0",
        "b/x",
        "archive\\x",
        "archive/",
        "archive/x\0",
        "",
        "archive//x",
    )
    raw = chance.choice(names).encode() if not chance.one_in(6) else chance.randbytes(4)
    return _at_one(chance, found, raw_name=raw)


def _descriptor(chance: Chance, found: Archive) -> Archive:
    raw = struct.pack("<4s3L", b"PK\7\x08", 0, chance.below(99), chance.below(99))
    return _at_one(chance, found, descriptor=chance.choice((raw, raw[4:], b"", raw + bytes(8))))


def _gap(chance: Chance, found: Archive) -> Archive:
    return replace(found, gap=chance.randbytes(chance.below(30)))


def _bytes(chance: Chance, found: Archive) -> Archive:
    data = found.records[chance.below(len(found.records))].data
    return _at_one(chance, found, data=chance.edited(data))


_CHANGES = (
    *(_local_field, _local_field, _central_field, _central_field, _both_fields, _end_field, _end64_field, _locator_field),
    *(_sentinels, _order, _listing, _unlisted, _name, _descriptor, _gap, _bytes),
)
