"""The pickle opcodes which push one number, constant or string."""

from __future__ import annotations

import codecs
import re
import struct
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_machine import Action, Machine
from ckpt_surgeon.formats.pickle_nodes import Letter, Node

__all__ = [
    "binfloat",
    "binint",
    "binint2",
    "constant",
    "long",
    "old_text",
    "short",
    "sized",
    "text",
    "text_float",
    "text_int",
    "text_long",
    "text_string",
    "text_unicode",
]

# An int in a checkpoint is a size, a count, or the state of a random generator (20,000 bits).
_MAX_INT_BYTES: Final = 64 * 1024
# An object of CPython for a number.
_NUMBER_BYTES: Final = 32


def text(raw: bytes) -> str:
    """A UTF-8 string; lone surrogates are let through, as pickles do."""
    return _with_identity(raw.decode("utf-8", "surrogatepass"))


def old_text(raw: bytes) -> str:
    """A Python 2 `str`: read as UTF-8 as torch does, or else (bytes of an array) as Latin-1, which keeps each byte."""
    try:
        return text(raw)
    except UnicodeDecodeError:
        return _with_identity(raw.decode("latin-1"))


def _with_identity(string: str) -> str:
    return Letter(string) if len(string) == 1 else string


# Numbers and constants


def constant(value: Node) -> Action:
    """Push `value`."""

    def push(machine: Machine) -> None:
        machine.stack.append(value)

    return push


def binint2(machine: Machine) -> None:
    """BININT2: an unsigned number of 2 bytes."""

    machine.push_new(machine.size(2), _NUMBER_BYTES)


def binint(machine: Machine) -> None:
    """BININT: a signed number of 4 bytes."""

    machine.push_new(int.from_bytes(machine.take(4), "little", signed=True), _NUMBER_BYTES)


def long(width: int) -> Action:
    """LONG1, LONG4: a signed number whose length in bytes stands before it in `width` bytes."""

    def push(machine: Machine) -> None:
        nbytes = machine.size(width)
        if nbytes > _MAX_INT_BYTES:
            raise LimitError(f"the pickle holds an int of {nbytes:,} bytes: {_MAX_INT_BYTES:,} are allowed")
        machine.push_new(int.from_bytes(machine.take(nbytes), "little", signed=True), _NUMBER_BYTES)

    return push


def text_int(machine: Machine) -> None:
    """INT: a decimal line; `00` and `01` are booleans."""

    line = machine.line()
    machine.push_new(line == b"01" if line in (b"00", b"01") else int(line), _NUMBER_BYTES)


def text_long(machine: Machine) -> None:
    """LONG: a decimal line which may end with L."""

    machine.push_new(int(machine.line().removesuffix(b"L")), _NUMBER_BYTES)


def text_float(machine: Machine) -> None:
    """FLOAT: a decimal line."""

    machine.push_new(float(machine.line()), _NUMBER_BYTES)


def binfloat(machine: Machine) -> None:
    """BINFLOAT: 8 bytes, big-endian."""

    machine.push_new(struct.unpack(">d", machine.take(8))[0], _NUMBER_BYTES)


# Strings and bytes


def sized(width: int, convert: Callable[[bytes], Node]) -> Action:
    """Push what `convert` makes of bytes whose number stands before them in `width` bytes."""

    def push(machine: Machine) -> None:
        raw = machine.take(machine.size(width))
        _push_converted(machine, convert(raw), len(raw))

    return push


def short(convert: Callable[[bytes], Node]) -> Action:
    """The same, where one byte says how many."""

    def push(machine: Machine) -> None:
        raw = machine.take(machine.byte())
        _push_converted(machine, convert(raw), len(raw))

    return push


def _push_converted(machine: Machine, node: Node, nbytes: int) -> None:
    machine.push_new(node, max(sys.getsizeof(node) - nbytes, 0))


def text_string(machine: Machine) -> None:
    """STRING: a quoted Python 2 literal."""

    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise CorruptError("a STRING of the pickle has no quotes")
    _push_converted(machine, old_text(_ESCAPE.sub(_unescaped, line[1:-1])), len(line))


# CPython's own decoder warns of what it does not know.
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPED: Final[Mapping[bytes, bytes]] = MappingProxyType(
    {
        b"\\": b"\\",
        b"'": b"'",
        b'"': b'"',
        b"a": b"\a",
        b"b": b"\b",
        b"f": b"\f",
        b"n": b"\n",
        b"r": b"\r",
        b"t": b"\t",
        b"v": b"\v",
        b"\n": b"",
    }
)


def _unescaped(match: re.Match[bytes]) -> bytes:
    """What an escape of a Python 2 literal stands for; an unknown one stands for itself."""
    body = match[1]
    if body[:1].isdigit() and body[0] < ord("8"):
        return bytes([int(body, 8) & 0xFF])
    if len(body) > 1:
        return bytes([int(body[1:], 16)])
    if body in (b"", b"x"):
        raise CorruptError("a STRING of the pickle ends within an escape")
    return _ESCAPED.get(body, match[0])


def text_unicode(machine: Machine) -> None:
    """UNICODE: a line with escapes."""

    line = machine.line()
    _push_converted(machine, _with_identity(codecs.raw_unicode_escape_decode(line)[0]), len(line))
