"""Guards: what must be true of a result (`assert:` in a rules file), as values."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.keys.pattern import Pattern

__all__ = ["CountGuard", "CoverageGuard", "DtypeGuard", "EqualGuard", "FiniteGuard", "Guard", "ShapeGuard"]


@dataclass(frozen=True, slots=True)
class CountGuard:
    """So many keys match."""

    word: ClassVar[str] = "count"

    match: tuple[Pattern, ...]
    equals: int | None = None
    at_least: int | None = None
    at_most: int | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ShapeGuard:
    """Every matching tensor is of this shape; None stands for any size."""

    word: ClassVar[str] = "shape"

    match: tuple[Pattern, ...]
    shape: tuple[int | None, ...]
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DtypeGuard:
    """Every matching tensor is of one of these types, by torch's names."""

    word: ClassVar[str] = "dtype"

    match: tuple[Pattern, ...]
    dtypes: tuple[str, ...]
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CoverageGuard:
    """Of the target's matching tensors, so large a share of their elements reads a source."""

    word: ClassVar[str] = "coverage"

    match: tuple[Pattern, ...]
    at_least: float
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class EqualGuard:
    """The tensors of all patterns which captured the same are one, bit for bit. Needs their values."""

    word: ClassVar[str] = "equal"

    source: tuple[Pattern, ...]
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class FiniteGuard:
    """No matching tensor holds an infinity or NaN. Needs their values."""

    word: ClassVar[str] = "finite"

    match: tuple[Pattern, ...]
    where: str = field(default="", compare=False)


Guard = CountGuard | ShapeGuard | DtypeGuard | CoverageGuard | EqualGuard | FiniteGuard
