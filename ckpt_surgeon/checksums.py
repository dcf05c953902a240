"""The CRC-32 of zip files: of isal where that is installed, which takes a quarter of zlib's time for large data."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

__all__ = ["crc32"]

_Buffer = bytes | bytearray | memoryview

# Bytes below which the import of isal costs more than it saves.
_WORTH_IMPORTING: Final = 64 * 1024


def crc32(data: _Buffer, crc: int = 0) -> int:
    """The checksum of data which follow those of which `crc` is the checksum, as `zlib.crc32` has it."""
    return zlib.crc32(data, crc) if len(data) < _WORTH_IMPORTING else _quickest()(data, crc)


@cache
def _quickest() -> Callable[[_Buffer, int], int]:
    try:
        from isal.isal_zlib import crc32 as quick
    except ImportError:
        return zlib.crc32
    return quick
