"""Names for people: escaped, shortened, and repeated blocks folded into one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["escape", "fold"]

_LIMIT = 120  # characters; the longest honest key seen has some 200, its middle is what can be spared
_GAP = "..."
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
# Printable by Unicode's categories, yet drawn as nothing: fillers, joiners, variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")

_DIGITS = re.compile("([0-9]+)")
_MAX_DIGITS = 9
_NUMBER = re.compile(
    rf"(?<![0-9])(0|[1-9][0-9]{{0,{_MAX_DIGITS - 1}}})(?![0-9])"
)  # without leading zeros, so that a range gives it back as written
_MAX_NUMBERS = 8  # in one name; a name with more is not folded
_MIN_RANGE = 2  # numbers; `{0..1}`

_Values = tuple[int, ...]
_Product = tuple[_Values, ...]
_Point = tuple[_Values, int]


def escape(name: str, limit: int = _LIMIT) -> str:
    r"""One line of at most `limit` visible characters: whatever is unprintable, invisible or turns text around is escaped.

    >>> escape("a\nb")
    'a\\nb'
    """
    if len(name) <= limit and name.isprintable() and "\\" not in name and (name.isascii() or not _INVISIBLE.search(name)):
        return name
    if len(name) <= limit:
        whole = "".join(map(_escaped, name))
        if len(whole) <= limit:
            return whole
    room = max(limit - len(_GAP), 2)
    head = _within(name, room - room // 2)
    tail = _within(reversed(name[-limit:]), room // 2)
    return "".join([*head, _GAP, *reversed(tail)])


def _within(characters: Iterable[str], room: int) -> list[str]:
    taken: list[str] = []
    for character in characters:
        text = _escaped(character)
        room -= len(text)
        if room < 0:
            break
        taken.append(text)
    return taken


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable() and not _INVISIBLE.match(character):
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def fold(keys: Iterable[str]) -> list[tuple[str, int]]:
    """(text, number of keys) of each block, in the order of its first key; each distinct key is in exactly one block.

    >>> fold(["a.0.w", "a.1.w", "a.2.w", "a.4.w", "b"])
    [('a.{0..2,4}.w', 4), ('b', 1)]

    Lossless: a block is a complete product of the numbers which its braces list. Keys which hold braces are not folded.
    """
    groups: dict[tuple[str, ...], list[_Point]] = {}
    for index, key in enumerate(dict.fromkeys(keys)):
        texts, numbers = _split(key)
        groups.setdefault(texts, []).append((numbers, index))
    blocks = [(first, _block(texts, product)) for texts, points in groups.items() for product, first in _products(points).items()]
    return [block for _, block in sorted(blocks)]


def _split(key: str) -> tuple[tuple[str, ...], _Values]:
    """The texts between the numbers of a key, and the numbers: always one text more than numbers."""
    if "{" in key or "}" in key:
        return (key,), ()
    parts = _DIGITS.split(key)
    if any(len(part) > 1 and (part[0] == "0" or len(part) > _MAX_DIGITS) for part in parts[1::2]):
        parts = _NUMBER.split(key)
    if len(parts) > 2 * _MAX_NUMBERS + 1:
        return (key,), ()
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def _products(points: list[_Point]) -> dict[_Product, int]:
    """Points of one dimension count, as disjoint complete products -> the least index in each.

    First numbers with the same set of rests share a product; the rests are cut in the same way. Linear in points x dims.
    """
    dims = len(points[0][0])
    if dims <= 1:
        values = tuple(sorted(numbers[0] for numbers, _ in points if dims))
        return {(values,) * dims: min(index for _, index in points)}
    rests: dict[int, list[_Point]] = {}
    for numbers, index in points:
        rests.setdefault(numbers[0], []).append((numbers[1:], index))
    shapes: dict[tuple[_Product, ...], list[tuple[int, dict[_Product, int]]]] = {}
    for number in sorted(rests):
        products = _products(rests[number])
        shapes.setdefault(tuple(products), []).append((number, products))
    return {
        (tuple(number for number, _ in members), *product): min(products[product] for _, products in members)
        for shape, members in shapes.items()
        for product in shape
    }


def _block(texts: tuple[str, ...], product: _Product) -> tuple[str, int]:
    count = 1
    parts = [texts[0]]
    for values, text in zip(product, texts[1:], strict=True):
        count *= len(values)
        parts += [str(values[0]) if len(values) == 1 else "{" + ",".join(_ranges(values)) + "}", text]
    return "".join(parts), count


def _ranges(values: _Values) -> Iterator[str]:
    """Ascending numbers as runs: `0..2`, `5`."""
    start = previous = values[0]
    for value in (*values[1:], None):
        if value == previous + 1:
            previous = value
            continue
        yield str(start) if start == previous else f"{start}..{previous}"
        if value is not None:
            start = previous = value
