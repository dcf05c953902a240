"""`python -m ckpt_surgeon`, and the entry point of the installed command."""

from __future__ import annotations

import gc
import os
import signal
from typing import NoReturn

__all__ = ["main"]

_NEW_OBJECTS = 50_000  # after which the collector runs: the modules of a command make as many, none of them garbage


def main() -> NoReturn:
    """Run the command line which this process was started with; never returns."""
    _end_at_signals()
    gc.set_threshold(_NEW_OBJECTS)
    from ckpt_surgeon.cli import main as application

    try:
        application()
    finally:
        gc.freeze()  # the process ends: the interpreter need not look for garbage once more
    raise AssertionError("the application exits by itself")


def _end_at_signals() -> None:
    """Until the application hears signals itself there is nothing to take away: end at once, with the exit code of a signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda heard, _: os._exit(128 + heard))


if __name__ == "__main__":
    main()
