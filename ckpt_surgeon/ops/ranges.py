"""Numbers from 0, written one by one or as ranges with both ends (`[0, 4-7]`)."""

from __future__ import annotations

import re

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.ops.arguments import integer

__all__ = ["ranges_of"]

_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


def ranges_of(value: object, what: str) -> tuple[range, ...]:
    """The ranges which a list names, in its order; none of them empty, and none spelled out.

    >>> ranges_of([3, "0-2"], "pick")
    (range(3, 4), range(0, 3))

    Raises RulesError for what is neither a number from 0 nor a range, and for an empty list.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise RulesError(f"{what} is an empty list")
    return tuple(_range(item, what) for item in items)


def _range(item: object, what: str) -> range:
    if not isinstance(item, str):
        at = integer(item, what)
        if at < 0:
            raise RulesError(f"{what} holds {at}; numbers count from 0")
        return range(at, at + 1)
    found = _RANGE.fullmatch(item)
    if found is None:
        raise RulesError(f"{what} holds {item!r}", hint="What fits: a number from 0, or a range with both ends, such as 0-11.")
    first, last = integer(int(found[1]), what), integer(int(found[2]), what)
    if last < first:
        raise RulesError(f"{what} holds {item!r}, which ends before it starts")
    return range(first, last + 1)
