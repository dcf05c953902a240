"""Python's garbage collector, put aside while tables are made: nothing of a table in the making is garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, the collector does not run: with each new object it would look for garbage among all others, again and again.

    Afterwards it is as it was before, also where one of these stands inside another.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
