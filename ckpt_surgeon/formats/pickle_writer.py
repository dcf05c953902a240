"""Node graph -> the bytes of a protocol 2 pickle, exactly as CPython's C pickler writes it for `torch.save`.

So what `read_pickle` made of a file of torch becomes the same bytes again. The quirks kept for that:
objects get their memo numbers by identity and in order of completion; a list and a dict go in batches of 1,000, where a dict of
k * 1,000 items ends with an empty batch; the items of a reduced object (OrderedDict) come from an iterator, whose single
leftover gets the opcode for one.
Source: CPython, Modules/_pickle.c (save, save_tuple, save_reduce, batch_list, batch_dict).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.errors import LimitError
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Global, Node, Persistent, Set

__all__ = ["Substitute", "write_pickle"]

Substitute = Callable[[Node], Node]

_BATCH: Final = 1000
# Each level is a container inside another; CPython's pickler gives up near 1,000 of its own calls.
_MAX_DEPTH: Final = 10_000
_SHORT_TUPLES: Final = (b")", b"\x85", b"\x86", b"\x87")
_LONG1_BYTES: Final = 255
_SHORT_INDEX: Final = 256
_LONG_INDEX: Final = struct.Struct("<cI")

_BYTES: Final = Global("__builtin__", "bytes")
_BYTEARRAY: Final = Global("__builtin__", "bytearray")
_SET: Final = Global("__builtin__", "set")
_FROZENSET: Final = Global("__builtin__", "frozenset")
_GETATTR: Final = Global("__builtin__", "getattr")
_ENCODE: Final = Global("_codecs", "encode")
_NEW_WITH_KEYWORDS: Final = Global("copyreg", "__newobj_ex__")


def write_pickle(root: Node, substitute: Substitute | None = None) -> bytes:
    """The pickle of `root`. `substitute` gives the node which stands for another (or the same); it sees all but strings and numbers.

    Raises LimitError for a graph deeper than CPython's pickler would go.
    """
    writer = _Writer(substitute or (lambda node: node))
    writer.out += b"\x80\x02"
    open_nodes = [iter((root,))]
    while open_nodes:
        for child in open_nodes[-1]:
            body = writer.save(child)
            if body is not None:
                open_nodes.append(body)
                break
        else:
            open_nodes.pop()
        if len(open_nodes) > _MAX_DEPTH:
            raise LimitError(f"the object graph nests deeper than {_MAX_DEPTH:,} levels")
    return bytes(writer.out + b".")


class _Writer:
    """The bytes so far and the memo. A container is a generator of its children which writes what stands around them."""

    def __init__(self, substitute: Substitute) -> None:
        self.out = bytearray()
        self._substitute = substitute
        self._memo: dict[int, int] = {}
        # Each node of the memo, by its number, until the end, so that no other can take its identity.
        self._remembered: list[Node] = []

    def save(self, node: Node) -> Iterator[Node] | None:
        """Write an atom or a reference to what was written before, or return the generator which writes the node."""
        if id(node) in self._memo:
            self._recall(node)  # whatever is remembered stands for itself
            return None
        if type(node) in _BODIES:
            node = self._substitute(node)
        atom = _ATOMS.get(type(node))
        if atom is not None:
            self.out += atom(node)
        elif id(node) in self._memo:
            self._recall(node)
        elif isinstance(node, str):
            self._write_string(node)
        else:
            return _BODIES[type(node)](self, node)
        return None

    def _remember(self, node: Node) -> None:
        index = len(self._memo)
        self._memo[id(node)] = index
        self._remembered.append(node)
        self.out += b"q%c" % index if index < _SHORT_INDEX else _LONG_INDEX.pack(b"r", index)

    def _recall(self, node: Node) -> None:
        index = self._memo[id(node)]
        self.out += b"h%c" % index if index < _SHORT_INDEX else _LONG_INDEX.pack(b"j", index)

    def _write_string(self, node: str) -> None:
        raw = str(node).encode("utf-8", "surrogatepass")
        self.out += _LONG_INDEX.pack(b"X", len(raw)) + raw
        self._remember(node)

    def save_tuple(self, node: tuple[Node, ...]) -> Iterator[Node]:
        """Elements, then the tuple; one which was reached again through itself is taken from the memo."""
        if not node:
            self.out += b")"
            return
        is_short = len(node) < len(_SHORT_TUPLES)
        if not is_short:
            self.out += b"("
        yield from node
        if id(node) in self._memo:
            self.out += b"0" * len(node) if is_short else b"1"
            self._recall(node)
            return
        self.out += _SHORT_TUPLES[len(node)] if is_short else b"t"
        self._remember(node)

    def save_list(self, node: list[Node]) -> Iterator[Node]:
        """The list, then its items."""
        self.out += b"]"
        self._remember(node)
        yield from self._batches([(item,) for item in node], b"ae", takes_single=len(node) == 1)

    def save_dict(self, node: Dict) -> Iterator[Node]:
        """The dict, then its pairs."""
        self.out += b"}"
        self._remember(node)
        yield from self._batches(node.pairs, b"su", takes_single=len(node.pairs) == 1)
        if node.pairs and len(node.pairs) % _BATCH == 0:
            self.out += b"(u"

    def _batches(self, entries: Sequence[tuple[Node, ...]], opcodes: bytes, *, takes_single: bool) -> Iterator[Node]:
        """Entries in batches; the first of `opcodes` ends a batch of one if `takes_single`, the second any other."""
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            is_single = takes_single and len(batch) == 1
            if not is_single:
                self.out += b"("
            yield from chain.from_iterable(batch)
            self.out += opcodes[:1] if is_single else opcodes[1:]

    def save_call(self, node: Call, identity: Node = None) -> Iterator[Node]:
        """The call, then items, pairs and state of its result. `identity` is the node which the memo remembers for it."""
        identity = node if identity is None else identity
        if type(node.function) is Global and node.function.name in ("set", "frozenset"):
            # A member may hold its set, which is then met while it is built: CPython lists the members anew each time.
            node = replace(node, arguments=tuple(map(_relisted, node.arguments)))
        if node.kind == "reduce":  # as nearly all are
            yield node.function
            yield node.arguments
            self.out += b"R"
        else:
            yield from self._save_construction(node)
        if id(identity) in self._memo:
            self.out += b"0"
            self._recall(identity)
            return
        self._remember(identity)
        if node.items:
            yield from self._batches([(item,) for item in node.items], b"ae", takes_single=True)
        if node.pairs:
            yield from self._batches(node.pairs, b"su", takes_single=True)
        if node.state is not ABSENT:
            yield node.state
            self.out += b"b"

    def _save_construction(self, node: Call) -> Iterator[Node]:
        if node.kind in ("inst", "obj"):
            is_named = node.kind == "inst"
            self.out += b"("
            yield from node.arguments if is_named else (node.function, *node.arguments)
            self.out += b"i" + _name_lines(node.function) if is_named else b"o"
            return
        if node.kind == "newobj_ex":
            yield from (_NEW_WITH_KEYWORDS, (node.function, *node.arguments))
        else:
            yield from (node.function, node.arguments)
        self.out += b"R" if node.kind == "newobj_ex" else b"\x81"

    def save_global(self, node: Global) -> Iterator[Node]:
        """The name; one with dots, which protocol 2 does not know, as `getattr` of the name before the last dot."""
        owner, dot, attribute = node.name.rpartition(".")
        if dot:
            yield from self.save_call(Call(_GETATTR, (Global(node.module, owner), attribute)), node)
            return
        self.out += b"c" + _name_lines(node)
        self._remember(node)

    def save_persistent(self, node: Persistent) -> Iterator[Node]:
        """The persistent id; what it stands for is never remembered."""
        yield node.pid
        self.out += b"Q"

    def save_set(self, node: Set) -> Iterator[Node]:
        """As protocol 2 has no sets: a call with the list of the items."""
        yield from self.save_call(Call(_FROZENSET if node.frozen else _SET, (node.items,)), node)

    def save_bytes(self, node: bytes) -> Iterator[Node]:
        """As protocol 2 has no bytes: the encoding of a text."""
        call = Call(_ENCODE, (node.decode("latin-1"), "latin1")) if node else Call(_BYTES, ())
        yield from self.save_call(call, node)

    def save_bytearray(self, node: bytearray) -> Iterator[Node]:
        """A call with the bytes."""
        yield from self.save_call(Call(_BYTEARRAY, (bytes(node),) if node else ()), node)


def _relisted(node: Node) -> Node:
    return list(node) if type(node) is list else node


def _name_lines(node: Global) -> bytes:
    return f"{node.module}\n{node.name}\n".encode()


def _integer(value: int) -> bytes:
    """The shortest opcode; LONG1 and LONG4 hold the fewest bytes of two's complement."""
    if 0 <= value < 1 << 8:
        return b"K%c" % value
    if 0 <= value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    magnitude = value if value >= 0 else ~value
    nbytes = magnitude.bit_length() // 8 + 1
    raw = value.to_bytes(nbytes, "little", signed=True)
    return b"\x8a%c" % nbytes + raw if nbytes <= _LONG1_BYTES else b"\x8b" + struct.pack("<i", nbytes) + raw


_ATOMS: Final[Mapping[type, Callable[[Node], bytes]]] = MappingProxyType(
    {
        type(None): lambda _: b"N",
        bool: lambda value: b"\x88" if value else b"\x89",
        int: _integer,
        float: lambda value: b"G" + struct.pack(">d", value),
    }
)

_BODIES: Final[Mapping[type, Callable[[_Writer, Node], Iterator[Node]]]] = MappingProxyType(
    {
        tuple: _Writer.save_tuple,
        list: _Writer.save_list,
        Dict: _Writer.save_dict,
        Set: _Writer.save_set,
        Call: _Writer.save_call,
        Global: _Writer.save_global,
        Persistent: _Writer.save_persistent,
        bytes: _Writer.save_bytes,
        bytearray: _Writer.save_bytearray,
    }
)
