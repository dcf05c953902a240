"""Amounts in words: bytes, elements, shares."""

from __future__ import annotations

from math import floor

__all__ = ["byte_text", "count_text", "keys_text", "share_text"]

_STEP = 1000  # powers of 1000, as disks and model hubs count
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def byte_text(nbytes: int) -> str:
    """Bytes: `0 B`, `37.6 kB`, `94.9 MB`."""
    return _scaled(nbytes, "B")


def count_text(count: int) -> str:
    """A number of elements: `512`, `23.7 M`."""
    return _scaled(count, "").rstrip()


def keys_text(count: int) -> str:
    """`1 key`, `320 keys`."""
    return f"{count} key" if count == 1 else f"{count} keys"


def share_text(share: float) -> str:
    """A share from 0 to 1 in percent, rounded down: only what is whole reads `100.0 %`, and only nothing at all `0.0 %`."""
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{floor(share * 1000) / 10:.1f} %"


def _scaled(amount: int, unit: str) -> str:
    power = 0
    while amount >= _STEP ** (power + 1) and power + 1 < len(_PREFIXES):
        power += 1
    if power == 0:
        return f"{amount} {unit}"
    tenths = amount * 10 // _STEP**power
    return f"{tenths // 10}.{tenths % 10} {_PREFIXES[power]}{unit}"
