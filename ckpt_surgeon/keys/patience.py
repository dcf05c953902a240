"""How long regular expressions may search: for one key, and for all keys together."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time
from typing import TypeVar

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["PATIENCE", "Patience", "TooSlowError"]

_MAX_KEY = 4096  # characters; the longest honest key seen has some 200
_KEY_LIMIT = 0.25  # seconds for one key; an honest expression takes microseconds
_LIMIT = 0.75  # seconds beyond what is free; together with the last key about one
_FREE = 20e-6  # seconds for each search; honest ones take 2 to 5 microseconds
_HINT = "Nested repetitions such as (a+)+ take exponential time; write the expression without them."

Found = TypeVar("Found")


class TooSlowError(RulesError):
    """An expression takes too long. Whoever gathers the problems of several rules stops at this one."""


@dataclass(slots=True)
class Patience:
    """The time which searches took, less what is free for each: who searches for long on many keys uses it up as on one key.

    It is the thread's own time, so that neither a busy machine nor one which slept makes an expression slow. `debt`: seconds.
    """

    debt: float = 0.0

    def search(self, text: str, key: str, find: Callable[[float], Found], literal: str = "") -> Found | None:
        """What `find(its time limit in seconds)` finds for the expression `text` in `key`; None where `literal` is not in the key.

        Raises RulesError for an overlong key; TooSlowError when the limit of one key or of all searches is reached, which gives
        the next search all the time again.
        """
        if len(key) > _MAX_KEY:
            raise RulesError(f"{escape(text)}: the key {escape(key)} has {len(key)} characters; at most {_MAX_KEY} are matched")
        if literal not in key:
            return None
        start = thread_time()
        try:
            found = find(_KEY_LIMIT)
        except TimeoutError:
            self.debt = 0.0
            raise TooSlowError(f"{escape(text)}: took over {_KEY_LIMIT} s on the key {escape(key)}", hint=_HINT) from None
        self.debt = max(self.debt + thread_time() - start - _FREE, 0.0)
        if self.debt > _LIMIT:
            self.debt = 0.0
            raise TooSlowError(f"{escape(text)}: took over {_LIMIT} s on several keys, the last is {escape(key)}", hint=_HINT)
        return found


PATIENCE = Patience()  # of this process: many slow expressions together take no longer than one
