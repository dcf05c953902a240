"""Chance: the one source of everything random in an input, and the changes which fit any format."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["BOUNDARIES", "Chance"]

Item = TypeVar("Item")

# Numbers beside which readers go wrong: the ends of 1, 2, 4 and 8 bytes, signed and unsigned.
BOUNDARIES = (0, 1, -1, 2, 7, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
_WIDTHS = (1, 2, 4, 8)  # bytes of a number in a file
_MOST_EDITS = 4
_LONGEST_CUT = 40  # bytes; a cut of half the file says the same as one of forty


class Chance(random.Random):
    """Seeded by the target, the seed and the number of the input, so that each input can be made again alone.

    is_plain: write what has several forms in that which real writers use, which is all that some references know.
    """

    is_plain = False

    def one_in(self, count: int) -> bool:
        """True once in `count` times."""
        return self.random() * count < 1

    def below(self, end: int) -> int:
        """A number from 0 to `end` - 1; 0 where there is none."""
        return int(self.random() * end)

    def number_near(self, value: int) -> int:
        """Another number where `value` stands: one of the boundaries, or a neighbor."""
        return self.choice(BOUNDARIES) if self.one_in(2) else value + self.choice((-1, 1, 8, -8, 2 * value, -value))

    def field_near(self, value: int, width: int) -> int:
        """The same, as an unsigned number of `width` bytes."""
        return self.number_near(value) % (1 << 8 * width)

    def few(self) -> int:
        """1 mostly, up to 4."""
        return min(1 + int(self.expovariate(1.2)), _MOST_EDITS)

    def rearranged(self, items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
        """The items with one of them left out, doubled, moved, exchanged, or with a run of `others` among them."""
        changed = list(items)
        at, to = self.below(len(changed)), self.below(len(changed))
        how = self.below(6) if changed else 5
        if how == 0:
            del changed[at]
        elif how == 1:
            changed.insert(to, changed[at])
        elif how == 2:
            changed.insert(to, changed.pop(at))
        elif how == 3:
            changed[at], changed[to] = changed[to], changed[at]
        elif how == 4:
            del changed[min(at, to) : max(at, to)]
        else:
            start = self.below(len(others))
            changed[at:to] = others[start : start + self.below(8) + 1]
        return changed

    def edited(self, data: bytes, other: bytes = b"") -> bytes:
        """The bytes after one to four edits, none of which knows the format; `other`: what is spliced in."""
        changed = bytearray(data)
        for _ in range(self.few()):
            self.choice(_EDITS)(self, changed, self.below(len(changed) + 1), other)
        return bytes(changed)


def _flip(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    if at < len(data):
        data[at] ^= 1 << chance.below(8)


def _set(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    data[at : at + 1] = bytes([chance.below(256)])


def _insert(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    data[at:at] = chance.randbytes(chance.below(4) + 1)


def _cut(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    del data[at : at + 1 + chance.below(_LONGEST_CUT)]


def _end(_chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    del data[at:]


def _repeat(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    data[at:at] = data[at : at + 1 + chance.below(_LONGEST_CUT)]


def _number(chance: Chance, data: bytearray, at: int, _other: bytes) -> None:
    width = chance.choice(_WIDTHS)
    data[at : at + width] = (chance.choice(BOUNDARIES) % (1 << 8 * width)).to_bytes(width, "little")


def _splice(chance: Chance, data: bytearray, at: int, other: bytes) -> None:
    start = chance.below(len(other))
    data[at : at + chance.below(_LONGEST_CUT)] = other[start : start + chance.below(2 * _LONGEST_CUT)]


_EDITS: tuple[Callable[[Chance, bytearray, int, bytes], Any], ...] = (_flip, _flip, _set, _insert, _cut, _end, _repeat, _number, _splice)
