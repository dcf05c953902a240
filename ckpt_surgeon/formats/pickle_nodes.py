"""The inert values of a read pickle: what it says, with nothing imported, called or hashed.

None, bool, int, float, str, bytes, bytearray, tuple and list stand for themselves; all else is one of the classes here.
An object which the pickle names twice is one node, so sharing and cycles survive.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Final, Literal, TypeAlias

from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["ABSENT", "Absent", "Call", "CallKind", "Dict", "Global", "Letter", "Node", "Pair", "Persistent", "Set", "lookup"]

# None | bool | int | float | str | bytes | bytearray | tuple | list | Global | Dict | Set | Call | Persistent
Node: TypeAlias = Any
Pair: TypeAlias = tuple[Node, Node]
CallKind = Literal["reduce", "newobj", "newobj_ex", "inst", "obj"]


class Absent:
    """The type of ABSENT, the state of a call which has none (None is a state like any other)."""


ABSENT: Final = Absent()


class Letter(str):
    """A string, mostly of one character, which is the same object as no other.

    CPython keeps one object for each short string which it decodes, but `str(7)` makes new ones: pickles tell them apart.
    """

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Global:
    """A name which the pickle would import."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """`module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Dict:
    """A dict as pairs in file order: no key is hashed, a double one stays visible."""

    pairs: list[Pair] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Set:
    """A set or frozenset as its items in file order."""

    items: list[Node] = field(default_factory=list)
    frozen: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """`function(*arguments)`, never made; then `items` appended, `pairs` set, and `state` given to the result.

    kind: the opcode. `newobj_ex` has `(arguments, keywords)` as its arguments.
    """

    function: Node
    arguments: Node
    kind: CallKind = "reduce"
    items: list[Node] | None = None
    pairs: list[Pair] | None = None
    state: Node = ABSENT


@dataclass(slots=True, eq=False)
class Persistent:
    """An object which lives outside of the pickle: in torch's files, a storage."""

    pid: Node


def lookup(pairs: list[Pair], name: str) -> Node:
    """The value of the last pair whose key is the string `name`, or ABSENT."""
    return next((value for key, value in reversed(pairs) if isinstance(key, str) and key == name), ABSENT)
