"""A table as columns: where few of many keys take other names, the others are not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Self, TypeVar

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["Columns"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Columns(Mapping[str, T], Generic[T]):
    """name -> cell, in order. `places`: name -> its position in `names` and `cells`; as long as these unless a name stands twice."""

    names: list[str]
    cells: list[T]
    places: dict[str, int]

    @classmethod
    def of(cls, table: Mapping[str, T]) -> Columns[T]:
        """A table as columns: itself if it is such already."""
        if isinstance(table, Columns):
            return table
        names = list(table)
        return cls(names, list(table.values()), dict(zip(names, range(len(names)), strict=True)))

    def copy(self) -> Self:
        """One which can be changed without changing this."""
        return type(self)(self.names.copy(), self.cells.copy(), self.places.copy())

    def rows(self) -> Iterable[tuple[str, T]]:
        """The names and their cells, several times quicker than `items`."""
        return zip(self.names, self.cells, strict=True)

    def __getitem__(self, name: str) -> T:
        return self.cells[self.places[name]]

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
