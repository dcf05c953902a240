"""Judge: one input after another through a target, under watch: what came out, and whatever of it may not be."""

from __future__ import annotations

import importlib
import pkgutil
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any

from memory_system import MemorySystem
from targets import Target

import ckpt_surgeon
from ckpt_surgeon import disk
from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.report.prose import one_line

__all__ = ["ACCEPTED", "Judge", "Verdict", "import_all"]

ACCEPTED = "accepted"
PATIENCE = 1.0  # seconds of the processor; an answer takes about a thousandth of it
_LONGEST_LINE = 1100  # characters, as told on a terminal
_LISTED = 300  # characters of a violation
# Audit events of code which only computes. Whatever else a reader does (open, import, compile, exec, ...) is a finding.
_HARMLESS = frozenset({"builtins.id", "object.__getattr__", "sys._getframe"})
# The `compile` event of ast.parse, which makes a tree and no code.
_ONLY_PARSED = "<unknown>"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an input.

    outcome: ACCEPTED or the name of the error. violations: what may never be.
    agreement: `` where no reference looked, else `both`, `neither`, `ours only` or `reference only`; why: in the last two, of what kind
    the one refusal is.
    """

    outcome: str
    violations: tuple[str, ...] = ()
    agreement: str = ""
    why: str = ""


class TooSlowError(BaseException):
    """The patience with one input is at its end."""


class _Watch:
    """Hears what the interpreter is asked to do while it is armed."""

    def __init__(self) -> None:
        self.is_armed = False
        self.events: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_armed and event not in _HARMLESS and not (event == "compile" and arguments[1] == _ONLY_PARSED):
            self.events.append(f"{event} {arguments!r:.80}")


def _lose_patience(_number: int, _frame: object) -> None:
    raise TooSlowError


class Judge:
    """Judges inputs of one target. Takes the place of the disk, of the signal of the processor's clock, and hears all audit events."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._system = MemorySystem()
        self._watch = _Watch()
        disk.system = self._system
        signal.signal(signal.SIGPROF, _lose_patience)

    def warm(self, files: Mapping[str, bytes]) -> None:
        """Let an input through without a judgement, so that all is imported which any reader imports."""
        self._system.serve(files)
        try:
            self._told(self._target.read(files), files)
        except Exception:  # noqa: BLE001 it is judged when its turn comes
            self._reference(files)
        self._system.close_all()

    def judge(self, files: Mapping[str, bytes], *, is_shown: bool) -> Verdict:
        """The verdict. is_shown: the reference looks at the input though ours refuses it."""
        self._system.serve(files)
        modules = len(sys.modules)
        value, error = self._watched(lambda: self._target.read(files))
        violations = [*self._of_error(error), *(f"asked for {event}" for event in self._watch.events)]
        if left := self._system.close_all():
            violations.append(f"{left} files were left open")
        if len(sys.modules) != modules:
            violations.append(f"imported {list(sys.modules)[modules:]}")
        if error is not None:
            agreement, why = self._refused(error, files) if is_shown else ("", "")
            return Verdict(type(error).__name__, tuple(violations), agreement, why)
        agreement, why, told = self._told(value, files)
        return Verdict(ACCEPTED, (*violations, *told), agreement, why)

    def _watched(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        self._watch.events.clear()
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        self._watch.is_armed = True
        try:
            return work(), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 whatever comes out is what is judged
            return None, error
        finally:
            self._watch.is_armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _of_error(self, error: BaseException | None) -> list[str]:
        if error is None:
            return []
        if isinstance(error, TooSlowError):
            return [f"no answer within {PATIENCE} s of the processor: {_place(error)}"]
        if not isinstance(error, SurgeryError):
            return [f"{type(error).__name__}: {error!s:.{_LISTED}} {_place(error)}"]
        if type(error) not in self._target.refusals:
            return [f"refused as {type(error).__name__}: {error!s:.{_LISTED}}"]
        return [f"no line for people: {line!r:.{_LISTED}}" for line in _lines(error) if not _is_line(line)]

    def _reference(self, files: Mapping[str, bytes]) -> tuple[Any, Exception | None]:
        if self._target.reference is None:
            return None, None
        try:
            return self._target.reference(files), None
        except Exception as error:  # noqa: BLE001 whatever the reference says against it
            return None, error

    def _refused(self, error: BaseException, files: Mapping[str, bytes]) -> tuple[str, str]:
        if self._target.reference is None:
            return "", ""
        _, refusal = self._reference(files)
        return ("neither", "") if refusal is not None else ("reference only", _class_of(error))

    def _told(self, value: Any, files: Mapping[str, bytes]) -> tuple[str, str, list[str]]:
        if self._target.reference is None:
            return "", "", []
        wanted, refusal = self._reference(files)
        if refusal is not None:
            return "ours only", _class_of(refusal), []
        told = self._target.differs(value, wanted)
        return "both", "", [f"read otherwise than by the reference: {told:.{_LISTED}}"] if told else []


def import_all() -> None:
    """Import and make whatever of ours is imported or made on use, so that growth of sys.modules, or code, is the input's doing."""
    for module in pkgutil.walk_packages(ckpt_surgeon.__path__, "ckpt_surgeon."):
        if not module.name.endswith("__main__"):
            _make_methods(importlib.import_module(module.name))


def _make_methods(module: ModuleType) -> None:
    """Ask for each method which `lazy_dataclass` leaves for later."""
    for kind in vars(module).values():
        if isinstance(kind, type) and is_dataclass(kind):
            for name in list(vars(kind)):
                getattr(kind, name)


def _lines(error: SurgeryError) -> list[str]:
    return [*map(str, error.problems), *(problem.hint for problem in error.problems)]


def _is_line(text: str) -> bool:
    """Whether it is one line on a terminal, as the command line tells it."""
    shown = text if text.isprintable() and len(text) < _LONGEST_LINE else one_line(text)
    return shown.isprintable() and len(shown) < _LONGEST_LINE


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))


_OF_TORCH = "WeightsUnpickler error: "
_NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|[0-9][0-9,]*|0x[0-9a-f]+")


def _class_of(error: BaseException) -> str:
    """What is said, without the names and numbers of the one input."""
    told = error.problems[0].what if isinstance(error, SurgeryError) else " ".join(str(error).split())
    words = _NAMES.sub("*", told.rpartition(_OF_TORCH)[2])
    return f"{type(error).__name__}: {words:.110}"
