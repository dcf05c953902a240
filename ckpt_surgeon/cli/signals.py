"""Signals as exceptions, so that whatever is in the making is taken away before the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "stopping_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The process was told to end. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP raises Stopped; later ones are left out, so that the cleaning up can finish.

    A signal which the parent ignores (nohup) stays ignored. Outside of the main thread nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    state = {"stopped": False}

    def stop(number: int, _: FrameType | None) -> None:
        if not state["stopped"]:
            state["stopped"] = True
            raise Stopped(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
