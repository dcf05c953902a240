"""The error classes and their exit codes. An error is fields (where, what, hint), rendered in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, Self

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = [
    "CorruptError",
    "CoverageError",
    "DiskError",
    "InverseError",
    "LimitError",
    "LockedError",
    "ModelError",
    "NothingLoadedError",
    "Problem",
    "RulesError",
    "SurgeryError",
    "UnsafeError",
    "refuse",
]

_MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing which is wrong: where (`rules.yaml:12:5`, a path, a key; may be empty), what, and what to do."""

    what: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """One line; whatever is unprintable, or turns text around, is escaped, for any of it may come from a file."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return text if text.isprintable() else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class SurgeryError(Exception):
    """The base of every error raised on purpose here; carries one or several problems of one phase."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str | Iterable[Problem], *, where: str = "", hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, hint),) if isinstance(what, str) else tuple(what)
        super().__init__(*(str(problem) for problem in self.problems))

    def located(self, where: str) -> Self:
        """The same error, with `where` filled in for each problem which has none."""
        return type(self)(replace(problem, where=problem.where or where) for problem in self.problems)

    @property
    def hint(self) -> str:
        """The first hint which any of the problems gives, or an empty string."""
        return next((problem.hint for problem in self.problems if problem.hint), "")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        return "\n".join([*lines, f"hint: {self.hint}"] if self.hint else lines)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class CoverageError(SurgeryError):
    """A target key is neither loaded nor allowed to be missing, a source key is left over, or a shape differs."""


class NothingLoadedError(CoverageError):
    """Not one tensor of the source has a place in the target."""


class InverseError(SurgeryError):
    """Rules cannot be undone for these keys, or did not lead back bit for bit."""


class CorruptError(SurgeryError):
    """A file is not what it claims to be: cut, damaged, inconsistent, or of no known format."""

    exit_code = 3


class UnsafeError(SurgeryError):
    """A file asks for something which would have to be imported or called."""

    exit_code = 3


class LimitError(SurgeryError):
    """A file exceeds a limit which honest checkpoints do not reach."""

    exit_code = 3


class RulesError(SurgeryError):
    """A rules file, a rule or a pattern is wrong, or does not fit these keys."""

    exit_code = 4


class ModelError(SurgeryError):
    """The model could not be imported, built or read."""

    exit_code = 4


class DiskError(SurgeryError):
    """An input / output fault: no space, no permission, no such file."""

    exit_code = 5


class LockedError(DiskError):
    """Another process writes this destination, or an in-place edit of it is unfinished."""


def refuse(wrong: Sequence[str], what: str) -> None:
    """CoverageError which names the first things that are wrong; nothing where none is."""
    if wrong:
        more = [f"and {len(wrong) - _MOST_LISTED} more"] if len(wrong) > _MOST_LISTED else []
        raise CoverageError(f"{what}: {'; '.join([*wrong[:_MOST_LISTED], *more])}")
