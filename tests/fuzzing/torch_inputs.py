"""Inputs which are torch's: a bare pickle, a pickle in a sound archive, the older stream of five pickles."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from chance import Chance
from pickle_programs import checkpoint, pickle_of, program, rearranged
from pickle_values import STORAGES, WIDTH_OF, Program, number, text
from real_files import archives, older_parts, opcodes_of, programs, torch_files
from zip_archives import Archive, Record

__all__ = ["bare_pickle", "older_stream", "pickled_archive"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The opcodes of texts, and what of them is no text, in bytes.
_TEXTS, _LENGTHS = (b"X", b"\x8c", b"\x8d", b"V", b"U", b"S", b"T"), (2, 4, 5, 9)


def bare_pickle(chance: Chance) -> Mapping[str, bytes]:
    """One pickle of anything."""
    return {"x.pkl": pickle_of(chance, program(chance, programs(is_older=False)))}


def pickled_archive(chance: Chance) -> Mapping[str, bytes]:
    """A sound archive of any pickle, beside the storages which it names."""
    storages = {f"data/{key}": data for key, data in STORAGES.items()} | {"version": b"3\n"}
    if chance.one_in(3):
        pickled, storages = chance.choice(archives())
        found = pickle_of(chance, rearranged(chance, opcodes_of(pickled), programs(is_older=False)))
    else:
        root = checkpoint(chance) if not chance.one_in(12) else program(chance, programs(is_older=False))
        found = pickle_of(chance, rearranged(chance, root, programs(is_older=False)) if chance.one_in(4) else root)
    records = {"data.pkl": found, **storages}
    if chance.one_in(20):
        records["byteorder"] = chance.choice((b"little", b"big", b"", b"littlebig"))
    return {"x.pt": Archive([Record(f"a/{name}", data) for name, data in records.items()]).data()}


def older_stream(chance: Chance) -> Mapping[str, bytes]:
    """The five pickles and the storages: a real file with its object rearranged or its bytes edited, or one of the grammar."""
    how = chance.below(8)
    if how == 0:
        files = torch_files(is_older=True)
        return {"x.pt": chance.edited(chance.choice(files), chance.choice(files))}
    if how < 4:
        real = chance.choice(older_parts())
        return {"x.pt": real.head + pickle_of(chance, rearranged(chance, real.root, programs(is_older=True))) + real.keys + real.tail}
    return {"x.pt": _older_of(chance, checkpoint(chance))}


def _older_of(chance: Chance, root: Program) -> bytes:
    """A stream around the object; its storages are those which it names, mostly."""
    root, widths = _with_views(root), _widths(root)
    keys = [key for key in widths if not chance.one_in(40)]
    pickles: list[Program] = [
        [b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")],
        [number(chance, _PROTOCOL)],
        [b"}", text(chance, "little_endian"), b"\x88", b"s"],
        root,
        [b"]", b"(", *(text(chance, key) for key in keys), b"e"],
    ]
    if chance.one_in(16):
        pickles = chance.rearranged(pickles, [program(chance, programs(is_older=False))])
    tail = b"".join(_elements(chance, STORAGES[key], widths[key]) for key in keys)
    head = b"".join(b"\x80\x02" + b"".join(part) + b"." for part in pickles[:3])
    return head + b"".join(pickle_of(chance, part) for part in pickles[3:]) + tail


def _with_views(opcodes: Program) -> Program:
    """The opcodes with a view, None, in each persistent id, as the older layout has it."""
    found: Program = []
    for opcode in opcodes:
        if opcode == b"Q" and found[-1:] == [b"t"]:
            found.insert(-1, b"N")
        found.append(opcode)
    return found


def _widths(opcodes: Program) -> dict[str, int]:
    """Bytes of an element of each storage which the opcodes name: its key stands after its class."""
    found: dict[str, int] = {}
    width = 1
    for opcode in opcodes:
        if opcode[:1] == b"c":
            width = WIDTH_OF.get(".".join(opcode[1:].decode().split("\n")[:2]), width)
        key = opcode.strip(b"'\n")[-1:].decode("latin-1")
        if opcode[:1] in _TEXTS and key in STORAGES and len(opcode) - len(key) in _LENGTHS:
            found.setdefault(key, width)
    return found


def _elements(chance: Chance, data: bytes, width: int) -> bytes:
    """The number of elements and the bytes."""
    numel = len(data) // width
    return struct.pack("<Q", chance.field_near(numel, 8) if chance.one_in(30) else numel) + data
