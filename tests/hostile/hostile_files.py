"""Bad and odd files from raw opcodes and records: pickles, zip archives, older streams, safetensors."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAGIC = 0x1950A86A20F9469CFC6C
FLOATS = struct.pack("<6f", 1, 2, 3, 4, 5, 6)

# Pickle opcodes


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a%c" % len(data) + data if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data)) + data


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def listed(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def mapping(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"}(" + b"".join(key + value for key, value in pairs) + b"u"


def name(path: str) -> bytes:
    module, _, attribute = path.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def called(path: str, *arguments: bytes) -> bytes:
    return name(path) + sequence(*arguments) + b"R"


def storage(
    key: bytes = text("0"), owner: bytes = name("torch.FloatStorage"), location: bytes = text("cpu"), numel: bytes = number(6)
) -> bytes:
    return sequence(text("storage"), owner, key, location, numel) + b"Q"


EMPTY_ORDERED = called("collections.OrderedDict")


def tensor(place: bytes | None = None, **parts: bytes) -> bytes:
    """A tensor f32[2, 3] on the first storage; `parts`: offset, size, stride, grad, hooks, more (what comes after them)."""
    given = {
        "offset": number(0),
        "size": sequence(number(2), number(3)),
        "stride": sequence(number(3), number(1)),
        "grad": b"\x89",
        "hooks": EMPTY_ORDERED,
        "more": b"",
        **parts,
    }
    return called("torch._utils._rebuild_tensor_v2", place or storage(), *given.values())


def whole(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80%c" % protocol + body + b"."


TABLE = mapping((text("a"), tensor()), (text("b"), tensor()))
ENVELOPED = mapping((text("state_dict"), TABLE))


def beside(payload: bytes, key: str = "beside") -> bytes:
    """An honest table under `state_dict`, and the payload beside it."""
    return mapping((text("state_dict"), TABLE), (text(key), payload))


# Zip archives

_LOCAL = ("signature", "version", "flags", "method", "time", "date", "crc", "packed", "nbytes", "name_nbytes", "extra_nbytes")
_CENTRAL = ("signature", "by", *_LOCAL[1:], "comment_nbytes", "disk", "inner", "outer", "header")
_END = ("signature", "disk", "first", "here", "count", "nbytes", "start", "comment_nbytes")
_END64 = ("signature", "size", "by", "version", "disk", "first", "here", "count", "nbytes", "start")


@dataclass(frozen=True)
class Entry:
    """A record. `local`, `central`: fields set to other values than the true ones; `descriptor`: what follows the bytes.

    name: bytes which are no UTF-8 stand in it as half surrogates. local_name: None where it is the same.
    """

    name: str
    data: bytes
    method: int = 0
    flags: int = 0
    descriptor: bytes = b""
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)
    extra: bytes = b""
    nbytes: int | None = None
    local_name: str | None = None
    local_extra: bytes = b""
    comment: bytes = b""

    @property
    def raw_name(self) -> bytes:
        return self.name.encode("utf-8", "surrogateescape")

    @property
    def packed(self) -> bytes:
        if not self.method:
            return self.data
        machine = zlib.compressobj(9, wbits=-15)
        return machine.compress(self.data) + machine.flush()

    def fields(self) -> dict[str, Any]:
        nbytes = len(self.data) if self.nbytes is None else self.nbytes
        sizes = {"crc": zlib.crc32(self.data), "packed": len(self.packed), "nbytes": nbytes, "name_nbytes": len(self.raw_name)}
        zeros = dict.fromkeys((*_LOCAL, *_CENTRAL), 0)
        return zeros | sizes | {"flags": self.flags, "method": self.method}

    def local_header(self) -> bytes:
        zeroed = dict.fromkeys(("crc", "packed", "nbytes"), 0) if self.flags & 8 else {}
        name = self.raw_name if self.local_name is None else self.local_name.encode()
        lengths = {"name_nbytes": len(name), "extra_nbytes": len(self.local_extra)}
        values = self.fields() | {"signature": b"PK\3\4"} | lengths | zeroed | dict(self.local)
        return struct.pack("<4s5H3L2H", *(values[field] for field in _LOCAL)) + name + self.local_extra

    def central_header(self, header: int) -> bytes:
        lengths = {"extra_nbytes": len(self.extra), "comment_nbytes": len(self.comment)}
        values = self.fields() | {"signature": b"PK\1\2", "header": header} | lengths | dict(self.central)
        return struct.pack("<4s6H3L5H2L", *(values[field] for field in _CENTRAL)) + self.raw_name + self.extra + self.comment


def descriptor(
    data: bytes, *, crc: int | None = None, nbytes: int | None = None, wide: bool = False, signature: bytes = b"PK\7\x08"
) -> bytes:
    size = len(data) if nbytes is None else nbytes
    return signature + struct.pack("<L2Q" if wide else "<L2L", zlib.crc32(data) if crc is None else crc, size, size)


def archive(*entries: Entry, end: Mapping[str, Any] | None = None, end64: Mapping[str, Any] | None = None, tail: bytes = b"") -> bytes:
    """A zip archive; `end`, `end64` (None: there is none): fields of the end records set to other values than the true ones."""
    data, directory = b"", b""
    for entry in entries:
        directory += entry.central_header(len(data))
        data += entry.local_header() + entry.packed + entry.descriptor
    counts = {"here": len(entries), "count": len(entries), "nbytes": len(directory), "start": len(data)}
    zeros = dict.fromkeys((*_END, *_END64), 0)
    wide = b""
    if end64 is not None:
        values = zeros | {"signature": b"PK\6\6", "size": 44} | counts | dict(end64)
        wide = struct.pack("<4sQ2H2L4Q", *(values[field] for field in _END64))
        wide += struct.pack("<4sLQL", b"PK\6\7", 0, len(data) + len(directory), 1)
    values = zeros | {"signature": b"PK\5\6"} | counts | dict(end or {})
    return data + directory + wide + struct.pack("<4s4H2LH", *(values[field] for field in _END)) + tail


def zipped(body: bytes, storages: Mapping[str, bytes] | None = None, **records: bytes) -> bytes:
    """A file of torch with this pickle body."""
    held = {"data.pkl": whole(body), **{f"data/{key}": data for key, data in (storages or {"0": FLOATS}).items()}, **records}
    return archive(*(Entry(f"a/{key}", data) for key, data in held.items()))


# Older streams


def older(root: bytes = ENVELOPED, **parts: bytes) -> bytes:
    """The single stream of torch before 1.6; `parts`: the bodies `magic`, `protocol`, `system`, `keys`; `tail`, and `view`, the sixth
    part of its persistent ids.
    """
    bodies = [
        parts.get("magic", number(MAGIC)),
        parts.get("protocol", number(1001)),
        parts.get("system", b"}"),
        root.replace(b"tQ", parts.get("view", b"N") + b"tQ"),
        parts.get("keys", listed(text("0"))),
    ]
    return b"".join(whole(body) for body in bodies) + parts.get("tail", struct.pack("<q", 6) + FLOATS)


# safetensors


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + data


def entry(nbytes: int = 4, begin: int = 0, **changes: Any) -> dict[str, Any]:
    return {"dtype": "U8", "shape": [nbytes], "data_offsets": [begin, begin + nbytes], **changes}
