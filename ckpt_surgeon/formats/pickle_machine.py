"""The pickle virtual machine: a stack of nodes, the stacks below the open MARKs, the memo, and a place in the bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_nodes import Node, Persistent

__all__ = ["Action", "CutError", "Machine"]

# The longest text line (protocol 0 number, string, module or class name); longer strings have sized opcodes.
_MAX_LINE_BYTES: Final = 1024 * 1024
# Each takes some 100 bytes of memory for 1 byte of the file; a tensor takes seven.
_MAX_CONTAINERS: Final = 2_000_000


class CutError(CorruptError):
    """The pickle goes on past the bytes which are there. `wanted`: the offset up to which it would need them."""

    def __init__(self, what: str, wanted: int) -> None:
        super().__init__(what)
        self.wanted = wanted


class Machine:
    """The state between two opcodes."""

    __slots__ = ("containers", "data", "marks", "memo", "persistents", "position", "stack")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.containers = 0
        self.stack: list[Node] = []
        self.marks: list[list[Node]] = []
        self.memo: dict[int, Node] = {}
        self.persistents: list[Persistent] = []

    def push_container(self, node: Node) -> None:
        """Push a node which holds others, and count it."""
        self.containers += 1
        if self.containers > _MAX_CONTAINERS:
            raise LimitError(f"the pickle makes more than {_MAX_CONTAINERS:,} containers")
        self.stack.append(node)

    def take(self, nbytes: int) -> bytes:
        """The next `nbytes` bytes."""
        end = self.position + nbytes
        if nbytes < 0 or end > len(self.data):
            raise CutError(f"the pickle is cut: {nbytes} bytes wanted, {len(self.data) - self.position} left", end)
        part = self.data[self.position : end]
        self.position = end
        return part

    def size(self, nbytes: int) -> int:
        """The next `nbytes` bytes as a little-endian unsigned number."""
        return int.from_bytes(self.take(nbytes), "little")

    def line(self) -> bytes:
        """The bytes up to the next newline, without it."""
        end = self.data.find(b"\n", self.position, self.position + _MAX_LINE_BYTES)
        if end < 0:
            if self.position + _MAX_LINE_BYTES > len(self.data):
                raise CutError("a text line of the pickle has no end", len(self.data) + 1)
            raise CorruptError(f"a text line of the pickle has no end within {_MAX_LINE_BYTES:,} bytes")
        part = self.data[self.position : end]
        self.position = end + 1
        return part

    def pop_mark(self) -> list[Node]:
        """The nodes above the last MARK, which goes."""
        if not self.marks:
            raise CorruptError("the pickle uses a MARK which it never set")
        items = self.stack
        self.stack = self.marks.pop()
        return items


Action = Callable[[Machine], None]
