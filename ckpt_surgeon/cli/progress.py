"""A progress line for whatever takes over a second: on stderr, only on a terminal, gone when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO

from ckpt_surgeon.report.amounts import byte_text

__all__ = ["ProgressLine"]

_PATIENCE = 1.0  # seconds before the line appears; what is faster needs none
_PAUSE = 0.1  # seconds between two drawings
_WIDTH = 30  # characters of the bar
_CLEAR = "\r\x1b[K"


class ProgressLine:
    """Called with (bytes done, bytes in all or None); draws one line on a terminal, over and over."""

    def __init__(self, label: str, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._stream = stream
        self._clock = clock
        self._next = clock() + _PATIENCE
        self._is_drawn = False

    def __call__(self, done: int, total: int | None) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PAUSE
        self._is_drawn = True
        self._stream.write(_CLEAR + self._text(done, total))
        self._stream.flush()

    def _text(self, done: int, total: int | None) -> str:
        if not total:
            return f"{self._label} {byte_text(done)}"
        share = min(done / total, 1.0)
        bar = "#" * int(share * _WIDTH)
        return f"{self._label} [{bar:<{_WIDTH}}] {int(share * 100):3d} % of {byte_text(total)}"

    def clear(self) -> None:
        """Take the line away."""
        if self._is_drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()
