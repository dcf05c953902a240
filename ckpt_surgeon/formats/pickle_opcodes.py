"""What each pickle opcode does to the machine's stack: the table ACTIONS. Builds nodes and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats import pickle_scalars as scalars
from ckpt_surgeon.formats.pickle_machine import MAX_MARKS, Action, CutError, Machine
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, CallKind, Dict, Global, Node, Pair, Persistent, Set

__all__ = ["ACTIONS"]

_HIGHEST_PROTOCOL: Final = 5
# The longest honest names of classes have some 200; each mention of one repeats it.
_MAX_NAME_LENGTH: Final = 1000
# The tuple of a key and its value, and its place.
_PAIR_BYTES: Final = 64


# Containers


def _empty(make: Callable[[], Node]) -> Action:
    def push(machine: Machine) -> None:
        machine.push_container(make())

    return push


def _tuple_of(count: int) -> Action:
    def push(machine: Machine) -> None:
        stack = machine.stack
        if len(stack) < count:
            raise CorruptError("the pickle makes a tuple of more values than there are")
        node = tuple(stack[-count:])
        del stack[-count:]
        machine.push_container(node, count)

    return push


def _marked_pairs(machine: Machine) -> list[Pair]:
    items = machine.pop_mark()
    if len(items) % 2:
        raise CorruptError("the pickle sets a key without a value")
    machine.spend(_PAIR_BYTES * (len(items) // 2))
    return list(zip(items[::2], items[1::2], strict=True))


def _marked(make: Callable[[list[Node]], Node]) -> Action:
    """Push what `make` makes of the values above the last MARK."""

    def push(machine: Machine) -> None:
        items = machine.pop_mark()
        machine.push_container(make(items), len(items))

    return push


def _dict(machine: Machine) -> None:
    machine.push_container(Dict(_marked_pairs(machine)))


def _require_call(target: Node, verb: str) -> Call:
    if type(target) is not Call:
        raise CorruptError(f"the pickle {verb} a {type(target).__name__}")
    if target.state is not ABSENT:
        raise UnsafeError(f"the pickle {verb} an object which already has its state")
    return target


def _append(target: Node, items: list[Node]) -> None:
    if type(target) is list:
        target.extend(items)
        return
    call = _require_call(target, "appends to")
    call.items = call.items or []
    call.items.extend(items)


def _set_pairs(target: Node, pairs: list[Pair]) -> None:
    if type(target) is Dict:
        target.pairs.extend(pairs)
        return
    call = _require_call(target, "sets keys of")
    call.pairs = call.pairs or []
    call.pairs.extend(pairs)


def _append_one(machine: Machine) -> None:
    item = machine.stack.pop()
    _append(machine.stack[-1], [item])


def _append_many(machine: Machine) -> None:
    items = machine.pop_items()
    _append(machine.stack[-1], items)


def _set_one(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.spend(_PAIR_BYTES)
    _set_pairs(machine.stack[-1], [(key, value)])


def _set_many(machine: Machine) -> None:
    pairs = _marked_pairs(machine)
    _set_pairs(machine.stack[-1], pairs)


def _add_many(machine: Machine) -> None:
    items = machine.pop_items()
    target = machine.stack[-1]
    if type(target) is not Set or target.frozen:
        raise CorruptError(f"the pickle adds to a {type(target).__name__}")
    target.items.extend(items)


# Names, calls and persistent ids


def _global(machine: Machine) -> None:
    module = machine.line().decode("utf-8")
    _push_global(machine, module, machine.line().decode("utf-8"))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise CorruptError("the pickle names a global by something which is no string")
    if "\n" in name or "\n" in module:
        raise CorruptError("the pickle names a global of two lines")
    _push_global(machine, module, name)


def _push_global(machine: Machine, module: str, name: str) -> None:
    if len(module) + len(name) > _MAX_NAME_LENGTH:
        raise LimitError(f"the pickle names a global of {len(module) + len(name):,} characters: {_MAX_NAME_LENGTH:,} are allowed")
    module.encode()  # a lone surrogate, which a line of text cannot hold, is a ValueError here
    name.encode()
    machine.push_container(Global(module, name))


def _call(kind: CallKind) -> Action:
    def push(machine: Machine) -> None:
        arguments, function = machine.stack.pop(), machine.stack.pop()
        if type(arguments) is not tuple:
            raise CorruptError(f"the pickle calls with a {type(arguments).__name__} for arguments")
        machine.push_container(Call(function, arguments, kind))

    return push


def _newobj_ex(machine: Machine) -> None:
    keywords, arguments, function = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    if type(arguments) is not tuple or type(keywords) is not Dict:
        raise CorruptError("the pickle calls with arguments which are no tuple and dict")
    machine.push_container(Call(function, (arguments, keywords), "newobj_ex"))


def _inst(machine: Machine) -> None:
    _global(machine)
    function = machine.stack.pop()
    arguments = tuple(machine.pop_items())
    machine.push_container(Call(function, arguments, "inst"))


def _obj(machine: Machine) -> None:
    function, *arguments = machine.pop_items() or [ABSENT]
    if function is ABSENT:
        raise CorruptError("the pickle makes an object of no class")
    machine.push_container(Call(function, tuple(arguments), "obj"))


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    _require_call(machine.stack[-1], "gives a state to").state = state


def _text_persistent(machine: Machine) -> None:
    _push_persistent(machine, machine.line().decode("ascii"))


def _persistent(machine: Machine) -> None:
    _push_persistent(machine, machine.stack.pop())


def _push_persistent(machine: Machine, pid: Node) -> None:
    node = Persistent(pid)
    machine.persistents.append(node)
    machine.push_container(node)


# Stack, memo and protocol


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= MAX_MARKS:
        raise LimitError(f"the pickle nests deeper than {MAX_MARKS:,} levels")
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: Machine) -> None:
    machine.spend_on_oddity()
    if not machine.stack:
        machine.pop_mark()
        return
    top = machine.stack.pop()
    if type(top) is Call and machine.stack and top.arguments and top.arguments[0] is machine.stack[-1]:
        raise UnsafeError("the pickle calls a function for what it does to an object")


def _pop_mark(machine: Machine) -> None:
    machine.spend_on_oddity()
    machine.pop_mark()


def _duplicate(machine: Machine) -> None:
    machine.spend_on_oddity()
    machine.stack.append(machine.stack[-1])


def _memoize(machine: Machine) -> None:
    machine.remember(len(machine.memo) - machine.free_places)


def _protocol(machine: Machine) -> None:
    protocol = machine.byte()
    if protocol > _HIGHEST_PROTOCOL:
        raise CorruptError(f"pickle protocol {protocol}: 0 to {_HIGHEST_PROTOCOL} are known")


def _frame(machine: Machine) -> None:
    nbytes = machine.size(8)
    if nbytes > len(machine.data) - machine.position:
        left = len(machine.data) - machine.position
        raise CutError(f"the pickle is cut: a frame of {nbytes} bytes, {left} left", machine.position + nbytes)


def _outside(what: str) -> Action:
    def refuse(_machine: Machine) -> None:
        raise UnsafeError(f"the pickle asks for {what}, which lies outside of the file")

    return refuse


_EXTENSION = _outside("an entry of the reader's extension registry")
_BUFFER = _outside("an out-of-band buffer")

ACTIONS: Final[Mapping[int, Action]] = MappingProxyType(
    {
        ord(code): action
        for code, action in {
            "(": _mark,
            "0": _pop,
            "1": _pop_mark,
            "2": _duplicate,
            "p": lambda machine: machine.remember(int(machine.line())),
            "q": lambda machine: machine.remember(machine.byte()),
            "r": lambda machine: machine.remember(machine.size(4)),
            "\x94": _memoize,
            "g": lambda machine: machine.recall(int(machine.line())),
            "h": lambda machine: machine.recall(machine.byte()),
            "j": lambda machine: machine.recall(machine.size(4)),
            "N": scalars.constant(None),
            "\x88": scalars.constant(True),
            "\x89": scalars.constant(False),
            "I": scalars.text_int,
            "L": scalars.text_long,
            "F": scalars.text_float,
            "J": scalars.binint,
            "K": lambda machine: machine.stack.append(machine.byte()),
            "M": scalars.binint2,
            "\x8a": scalars.long(1),
            "\x8b": scalars.long(4),
            "G": scalars.binfloat,
            "S": scalars.text_string,
            "T": scalars.sized(4, scalars.old_text),
            "U": scalars.short(scalars.old_text),
            "V": scalars.text_unicode,
            "X": scalars.sized(4, scalars.text),
            "\x8c": scalars.short(scalars.text),
            "\x8d": scalars.sized(8, scalars.text),
            "C": scalars.short(bytes),
            "B": scalars.sized(4, bytes),
            "\x8e": scalars.sized(8, bytes),
            "\x96": scalars.sized(8, bytearray),
            "]": _empty(list),
            "}": _empty(Dict),
            "\x8f": _empty(Set),
            ")": scalars.constant(()),
            "\x85": _tuple_of(1),
            "\x86": _tuple_of(2),
            "\x87": _tuple_of(3),
            "t": _marked(tuple),
            "l": _marked(list),
            "d": _dict,
            "\x91": _marked(lambda items: Set(items, frozen=True)),
            "a": _append_one,
            "e": _append_many,
            "s": _set_one,
            "u": _set_many,
            "\x90": _add_many,
            "c": _global,
            "\x93": _stack_global,
            "R": _call("reduce"),
            "\x81": _call("newobj"),
            "\x92": _newobj_ex,
            "i": _inst,
            "o": _obj,
            "b": _build,
            "P": _text_persistent,
            "Q": _persistent,
            "\x80": _protocol,
            "\x95": _frame,
            "\x82": _EXTENSION,
            "\x83": _EXTENSION,
            "\x84": _EXTENSION,
            "\x97": _BUFFER,
            "\x98": _BUFFER,
        }.items()
    }
)
