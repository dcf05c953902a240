"""Several keys which differ in one place -> one text with a mark there, and the capture which stands for the mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MARK", "Gathered", "gathered"]

MARK = "\x01"  # stands where the capture will; no key which is gathered holds it
_COUNTER, _PART = "n", "x"
_BETWEEN = ".\n."


@dataclass(frozen=True, slots=True)
class Gathered:
    """A text for several keys. capture: `{n:int}` or `{x:q|k|v}`; empty where the text lists the keys one after the other."""

    text: str
    capture: str = ""


def gathered(keys: Sequence[str]) -> Gathered:
    """The keys as one text.

    >>> gathered(["attn.q_proj.weight", "attn.k_proj.weight"]).capture
    '{x:q|k}'
    """
    rows = [key.split(".") for key in keys]
    if len(keys) > 1 and len({len(row) for row in rows}) == 1:
        places = [at for at in range(len(rows[0])) if len({row[at] for row in rows}) > 1]
        if len(places) == 1:
            (at,) = places
            before, values, after = _cut([row[at] for row in rows])
            text = ".".join([*rows[0][:at], f"{before}{MARK}{after}", *rows[0][at + 1 :]])
            if values == [str(n) for n in range(len(values))]:
                return Gathered(text, f"{{{_COUNTER}:int}}")
            if len(set(values)) == len(values) and all(values):
                return Gathered(text, f"{{{_PART}:{'|'.join(values)}}}")
    return Gathered(_BETWEEN.join(keys))


def _cut(words: Sequence[str]) -> tuple[str, list[str], str]:
    """What all begin and end with, and what stands between; numbers are not cut, nor letters off numbers other than 0, 1, 2 ..."""
    before = re.sub("[0-9]+$", "", _start(words))
    rests = [word.removeprefix(before) for word in words]
    after = re.sub("^[0-9]+", "", _start([rest[::-1] for rest in rests])[::-1])
    values = [rest[: len(rest) - len(after)] for rest in rests]
    is_counted = values == [str(n) for n in range(len(values))]
    if not is_counted and all(value[:1].isdigit() for value in values):
        (tail,) = re.findall("[A-Za-z]*$", before)[:1]
        return before[: len(before) - len(tail)], [tail + value for value in values], after
    return before, values, after


def _start(words: Sequence[str]) -> str:
    """What all words begin with."""
    return "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False)))
