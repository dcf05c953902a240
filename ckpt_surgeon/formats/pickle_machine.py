"""The pickle virtual machine: a stack of nodes, the stacks below the open MARKs, the memo, and a place in the bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Node, Persistent

__all__ = ["CONTAINER_BYTES", "MAX_MARKS", "PLACE_BYTES", "Action", "CutError", "Machine"]

# The longest text line (protocol 0 number, string, module or class name); longer strings have sized opcodes.
_MAX_LINE_BYTES: Final = 1024 * 1024
# Memory beyond the bytes of the pickle itself. A tensor takes some 900 bytes for 60 to 110 of the file: there is room for 200,000 ...
_MAX_MEMORY: Final = 176 * 1024 * 1024
# ... and a small file which asks for much more than that rate is told before it took much time.
_FREE_MEMORY: Final = 24 * 1024 * 1024
_MEMORY_PER_BYTE: Final = 20
# A place on the stack, in a container or in the memo.
PLACE_BYTES: Final = 8
# An object of CPython with a few fields and its place.
CONTAINER_BYTES: Final = 80
# Open MARKs are nested containers under construction; CPython's own pickler gives up near 1,000.
MAX_MARKS: Final = 10_000
# Pickles number what they remember from 0 or 1 on, without gaps; one made by hand may leave some out.
_MAX_MEMO_GAP: Final = 65_536


class CutError(CorruptError):
    """The pickle goes on past the bytes which are there. `wanted`: the offset up to which it would need them."""

    def __init__(self, what: str, wanted: int) -> None:
        super().__init__(what)
        self.wanted = wanted


class Machine:
    """The state between two opcodes."""

    __slots__ = ("allowed", "data", "free_places", "marks", "memo", "persistents", "position", "spent", "stack")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.spent = 0
        self.allowed = 0  # bytes of memory which may be spent without another look at how far the reader came
        self.stack: list[Node] = []
        self.marks: list[list[Node]] = []
        self.memo: list[Node] = []
        self.free_places = 0  # in the memo
        self.persistents: list[Persistent] = []

    def spend_on_oddity(self) -> None:
        """Account for what no pickler writes, or hardly ever, as if it made an object: very many are an attack on time."""
        self.spend(CONTAINER_BYTES)

    def spend(self, nbytes: int) -> None:
        """Account for `nbytes` bytes of memory; LimitError when that is more than the bytes read so far allow."""
        self.spent += nbytes
        if self.spent > self.allowed:
            self.require_room()

    def require_room(self) -> None:
        """Allow as much as the bytes read so far do, which never gets less; LimitError when more is spent."""
        self.allowed = min(_MAX_MEMORY, _FREE_MEMORY + _MEMORY_PER_BYTE * self.position)
        if self.spent > self.allowed:
            raise LimitError(f"the first {self.position:,} bytes of the pickle ask for {self.spent:,} bytes of memory")

    def push_new(self, node: Node, nbytes: int) -> None:
        """Push a new object, which takes `nbytes` bytes more than the file itself holds of it."""
        self.spend(nbytes + PLACE_BYTES)
        self.stack.append(node)

    def push_container(self, node: Node, items: int = 0) -> None:
        """Push a node which holds others, `items` of them."""
        self.spend(CONTAINER_BYTES + PLACE_BYTES * items)
        self.stack.append(node)

    def remember(self, index: int) -> None:
        """Put the top of the stack into the memo."""
        top, memo = self.stack[-1], self.memo
        gap = index - len(memo)
        if index < 0 or gap > _MAX_MEMO_GAP:
            raise CorruptError(f"the pickle remembers a value out of order: {len(memo):,} is next")
        if gap < 0 or (memo and memo[-1] is top):
            self.spend_on_oddity()
        if gap < 0:
            self.free_places -= memo[index] is ABSENT
            memo[index] = top
            return
        self.free_places += gap
        self.spend(PLACE_BYTES * (gap + 1))
        memo += [ABSENT] * gap
        memo.append(top)

    def recall(self, index: int) -> None:
        """Push a value of the memo."""
        value = self.memo[index] if 0 <= index < len(self.memo) else ABSENT
        if value is ABSENT:
            raise CorruptError(f"the pickle takes value {index} of its memo, which holds none")
        self.stack.append(value)

    def take(self, nbytes: int) -> bytes:
        """The next `nbytes` bytes."""
        end = self.position + nbytes
        if nbytes < 0 or end > len(self.data):
            raise CutError(f"the pickle is cut: {nbytes} bytes wanted, {len(self.data) - self.position} left", end)
        part = self.data[self.position : end]
        self.position = end
        return part

    def byte(self) -> int:
        """The next byte."""
        if self.position >= len(self.data):
            raise CutError("the pickle is cut: 1 byte wanted, 0 left", self.position + 1)
        self.position += 1
        return self.data[self.position - 1]

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

    def pop_items(self) -> list[Node]:
        """The same, for a container which has its place already."""
        items = self.pop_mark()
        self.spend(PLACE_BYTES * len(items))
        return items


Action = Callable[[Machine], None]
