"""Machines which go wrong at one of their system calls; they stand in the place of `disk.system`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ckpt_surgeon import disk

# Calls which change nothing on the disk.
LOOKING = frozenset({"stat", "lstat", "fstat", "listdir", "pread", "free_bytes"})


class Killed(BaseException):
    """The process is gone: nothing which it would have done after this happens."""


class Machine:
    """The real machine, which counts its calls; `lacks_exchange`: two names cannot be exchanged."""

    def __init__(self, *, lacks_exchange: bool = False) -> None:
        self.calls: list[str] = []
        self.descriptors: set[int] = set()
        self._real, self._lacks_exchange = disk.system, lacks_exchange

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._real, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if name == "exchange" and self._lacks_exchange:
                raise _error(errno.EINVAL)
            result = self.carry_out(name, lambda: call(*arguments, **options))
            if name == "open":
                self.descriptors.add(result)
            if name == "close":
                self.descriptors.discard(arguments[0])
            return result

        return counted

    def carry_out(self, name: str, call: Callable[[], Any]) -> Any:
        """Do it."""
        return call()


class FaultyMachine(Machine):
    """Its call number `fatal` fails with an error code, and, when told, all after it."""

    def __init__(self, fatal: int, code: int, *, lasts: bool = False, lacks_exchange: bool = False) -> None:
        super().__init__(lacks_exchange=lacks_exchange)
        self._fatal, self._code, self._lasts = fatal, code, lasts

    def carry_out(self, name: str, call: Callable[[], Any]) -> Any:
        number = len(self.calls) - 1
        if number != self._fatal and not (self._lasts and number > self._fatal):
            return call()
        if name == "close":
            call()  # the descriptor is gone whatever the system says
        raise _error(self._code)


class MortalMachine(Machine):
    """The process is killed before or after its call number `fatal`."""

    def __init__(self, fatal: int, *, is_after: bool, lacks_exchange: bool = False) -> None:
        super().__init__(lacks_exchange=lacks_exchange)
        self._fatal, self._is_after = fatal, is_after
        self._is_dead = False

    def carry_out(self, name: str, call: Callable[[], Any]) -> Any:
        is_last = len(self.calls) - 1 == self._fatal
        if self._is_dead or (is_last and not self._is_after):
            self._is_dead = True
            raise Killed
        result = call()
        if is_last:
            self._is_dead = True
            self._settle(name, result)
            raise Killed
        return result

    def _settle(self, name: str, result: Any) -> None:
        """Remember the descriptor of a file whose opening is the last call of all."""
        if name == "open":
            self.descriptors.add(result)

    def bury(self) -> None:
        """Close what the dead process had open, as the system does; its locks go with it."""
        for descriptor in self.descriptors:
            with suppress(OSError):  # closing it was the last call of all
                os.close(descriptor)


@contextmanager
def in_place(machine: Machine) -> Iterator[None]:
    """Everything inside goes through this machine."""
    before = disk.system
    disk.system = machine
    try:
        yield
    finally:
        disk.system = before
        if isinstance(machine, MortalMachine):
            machine.bury()


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
