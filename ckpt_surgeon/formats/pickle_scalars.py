"""The pickle opcodes which push one number, constant or string."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_machine import Action, Machine
from ckpt_surgeon.formats.pickle_nodes import Letter, Node

__all__ = [
    "binfloat",
    "binint",
    "constant",
    "long",
    "old_text",
    "sized",
    "text",
    "text_float",
    "text_int",
    "text_long",
    "text_string",
    "text_unicode",
    "unsigned",
]

# An int in a checkpoint is a size, a count, or the state of a random generator (20,000 bits).
_MAX_INT_BYTES: Final = 64 * 1024


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
    return string if len(string) > 1 else Letter(string)


# Numbers and constants


def constant(value: Node) -> Action:
    """Push `value`."""

    def push(machine: Machine) -> None:
        machine.stack.append(value)

    return push


def unsigned(width: int) -> Action:
    """Push an unsigned number of `width` bytes (BININT1, BININT2)."""

    def push(machine: Machine) -> None:
        machine.stack.append(machine.size(width))

    return push


def binint(machine: Machine) -> None:
    """BININT: a signed number of 4 bytes."""

    machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True))


def long(width: int) -> Action:
    """LONG1, LONG4: a signed number whose length in bytes stands before it in `width` bytes."""

    def push(machine: Machine) -> None:
        nbytes = machine.size(width)
        if nbytes > _MAX_INT_BYTES:
            raise LimitError(f"the pickle holds an int of {nbytes:,} bytes: {_MAX_INT_BYTES:,} are allowed")
        machine.stack.append(int.from_bytes(machine.take(nbytes), "little", signed=True))

    return push


def text_int(machine: Machine) -> None:
    """INT: a decimal line; `00` and `01` are booleans."""

    line = machine.line()
    machine.stack.append(line == b"01" if line in (b"00", b"01") else int(line))


def text_long(machine: Machine) -> None:
    """LONG: a decimal line which may end with L."""

    machine.stack.append(int(machine.line().removesuffix(b"L")))


def text_float(machine: Machine) -> None:
    """FLOAT: a decimal line."""

    machine.stack.append(float(machine.line()))


def binfloat(machine: Machine) -> None:
    """BINFLOAT: 8 bytes, big-endian."""

    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


# Strings and bytes


def sized(width: int, convert: Callable[[bytes], Node]) -> Callable[[Machine], None]:
    """Push what `convert` makes of bytes whose number stands before them in `width` bytes."""

    def push(machine: Machine) -> None:
        machine.stack.append(convert(machine.take(machine.size(width))))

    return push


def text_string(machine: Machine) -> None:
    """STRING: a quoted Python 2 literal."""

    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise CorruptError("a STRING of the pickle has no quotes")
    machine.stack.append(old_text(codecs.escape_decode(line[1:-1])[0]))


def text_unicode(machine: Machine) -> None:
    """UNICODE: a line with escapes."""

    machine.stack.append(_with_identity(machine.line().decode("raw-unicode-escape")))
