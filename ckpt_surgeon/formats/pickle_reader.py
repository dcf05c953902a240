"""Bytes -> the node graph of one pickle, protocols 0 to 5. Imports nothing, calls nothing, hashes nothing which it reads."""

from __future__ import annotations

import struct
from sys import getsizeof
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_machine import CONTAINER_BYTES, MAX_MARKS, PLACE_BYTES, CutError, Machine
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Node, Persistent
from ckpt_surgeon.formats.pickle_opcodes import ACTIONS
from ckpt_surgeon.garbage import uncollected

__all__ = ["MAX_PICKLE_BYTES", "read_pickle"]

# Weights lie outside of the pickle; what is larger than this carries arrays inside, and would be held in memory whole.
MAX_PICKLE_BYTES: Final = 512 * 1024 * 1024
# A model of 100,000 tensors takes about 3 million opcodes.
_MAX_OPCODES: Final = 8_000_000
_STOP: Final = ord(".")
# The opcodes which are done in the loop itself.
_MARK, _REDUCE, _BINPERSID, _TUPLE = b"(RQt"
_TUPLE1, _TUPLE3 = b"\x85\x87"
_BININT1, _BINUNICODE, _BINGET, _LONG_BINPUT = b"KXhr"
# Of those, which take up to 4 bytes beside a string; behind the last place where that many are left there is no such opcode.
_LONGEST_OPERAND: Final = 4
_NO_OPCODE: Final = -1
_number: Final = struct.Struct("<I").unpack_from
# A longer string which starts with a byte below this is more than one character.
_NOT_ASCII: Final = 0x80
# What an ASCII string takes beside its bytes.
_ASCII_BYTES: Final = getsizeof("")


def read_pickle(data: bytes, offset: int = 0, persistents: list[Persistent] | None = None, *, is_window: bool = False) -> tuple[Node, int]:
    """The value of the pickle which starts at `offset`, and the offset after it (bytes).

    is_window: the data may end before the pickle does, which is then a CutError.
    persistents: takes all persistent ids, in file order, also those which the pickle throws away.
    Raises CorruptError for what is no pickle, UnsafeError for opcodes which reach outside, LimitError past the limits above.
    """
    machine = Machine(data, offset)
    try:
        with uncollected():
            value = _run(machine)
    except CutError as error:
        if is_window:
            raise
        raise CorruptError(error.problems) from error
    except IndexError as error:
        raise CorruptError(f"the pickle takes from an empty stack near byte {machine.position}") from error
    except ValueError as error:
        raise CorruptError(f"the pickle is damaged near byte {machine.position}: {error}") from error
    if persistents is not None:
        persistents += machine.persistents
    return value, machine.position


def _run(machine: Machine) -> Node:
    """Run up to STOP.

    A checkpoint of 200,000 tensors takes 7 million opcodes, and a call for each would take most of the time. So the commonest are
    done right here, in local variables, where nothing about them is odd. Whatever is rare, odd or wrong is no case of the long `if`
    and is left, from the same state, to `_step`: only that and the ACTIONS say what is an error.
    """
    data, memo, marks = machine.data, machine.memo, machine.marks
    stack, position, spent, allowed = machine.stack, machine.position, machine.spent, machine.allowed
    safe_end = len(data) - _LONGEST_OPERAND
    for _ in range(_MAX_OPCODES):
        opcode = data[position] if position < safe_end else _NO_OPCODE
        if opcode == _LONG_BINPUT and _number(data, position + 1)[0] == len(memo) > 0 and stack and stack[-1] is not memo[-1]:
            memo.append(stack[-1])
            spent += PLACE_BYTES
            position += 5
        elif opcode == _BINGET and data[position + 1] < len(memo) and memo[data[position + 1]] is not ABSENT:
            stack.append(memo[data[position + 1]])
            position += 2
        elif opcode == _BININT1:
            stack.append(data[position + 1])
            position += 2
        elif (
            opcode == _BINUNICODE
            and 1 < (nbytes := _number(data, position + 1)[0]) < safe_end - position
            and data[position + 5] < _NOT_ASCII
        ):
            start, position = position + 5, position + 5 + nbytes
            machine.position = position
            string = data[start:position].decode("utf-8", "surrogatepass")
            stack.append(string)
            spent += PLACE_BYTES + (_ASCII_BYTES if len(string) == nbytes else max(getsizeof(string) - nbytes, 0))
        elif opcode == _MARK and len(marks) < MAX_MARKS:
            marks.append(stack)
            stack = machine.stack = []
            position += 1
        elif opcode == _TUPLE and marks:
            items, stack = stack, marks.pop()
            machine.stack = stack
            stack.append(tuple(items))
            spent += CONTAINER_BYTES + PLACE_BYTES * len(items)
            position += 1
        elif _TUPLE1 <= opcode <= _TUPLE3 and len(stack) > opcode - _TUPLE1:
            count = opcode - _TUPLE1 + 1
            stack[-count:] = (tuple(stack[-count:]),)
            spent += CONTAINER_BYTES + PLACE_BYTES * count
            position += 1
        elif opcode == _REDUCE and len(stack) > 1 and type(stack[-1]) is tuple:
            arguments = stack.pop()
            stack[-1] = Call(stack[-1], arguments)
            spent += CONTAINER_BYTES
            position += 1
        elif opcode == _BINPERSID and stack:
            stack[-1] = persistent = Persistent(stack[-1])
            machine.persistents.append(persistent)
            spent += CONTAINER_BYTES
            position += 1
        else:
            machine.position, machine.spent = position, spent
            if _step(machine):
                return _result(machine)
            stack, position, spent, allowed = machine.stack, machine.position, machine.spent, machine.allowed
        if spent > allowed:
            machine.position, machine.spent = position, spent
            machine.require_room()
            allowed = machine.allowed
    raise LimitError(f"the pickle has more than {_MAX_OPCODES:,} opcodes")


def _step(machine: Machine) -> bool:
    """Run one opcode; whether it was STOP."""
    data, position = machine.data, machine.position
    if position >= len(data):
        raise CutError("the pickle is cut: no STOP before its end", len(data) + 1)
    opcode = data[position]
    machine.position = position + 1
    if opcode == _STOP:
        return True
    action = ACTIONS.get(opcode)
    if action is None:
        raise CorruptError(f"no pickle opcode at byte {position}: 0x{opcode:02x}")
    action(machine)
    return False


def _result(machine: Machine) -> Node:
    if machine.marks or len(machine.stack) != 1:
        raise CorruptError(f"the pickle ends with {len(machine.stack)} values and {len(machine.marks)} open marks: one value is allowed")
    return machine.stack[0]
