"""Bytes -> the node graph of one pickle, protocols 0 to 5. Imports nothing, calls nothing, hashes nothing which it reads."""

from __future__ import annotations

from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_machine import CutError, Machine
from ckpt_surgeon.formats.pickle_nodes import Node, Persistent
from ckpt_surgeon.formats.pickle_opcodes import ACTIONS
from ckpt_surgeon.garbage import uncollected

__all__ = ["MAX_PICKLE_BYTES", "read_pickle"]

# Weights lie outside of the pickle; what is larger than this carries arrays inside, and would be held in memory whole.
MAX_PICKLE_BYTES: Final = 512 * 1024 * 1024
# A model of 100,000 tensors takes about 3 million opcodes.
_MAX_OPCODES: Final = 8_000_000
_STOP: Final = ord(".")


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
    """Run up to STOP: one table look-up and one call for each opcode."""
    data, end = machine.data, len(machine.data)
    for _ in range(_MAX_OPCODES):
        position = machine.position
        if position >= end:
            raise CutError("the pickle is cut: no STOP before its end", end + 1)
        opcode = data[position]
        machine.position = position + 1
        if opcode == _STOP:
            return _result(machine)
        action = ACTIONS.get(opcode)
        if action is None:
            raise CorruptError(f"no pickle opcode at byte {position}: 0x{opcode:02x}")
        action(machine)
    raise LimitError(f"the pickle has more than {_MAX_OPCODES:,} opcodes")


def _result(machine: Machine) -> Node:
    if machine.marks or len(machine.stack) != 1:
        raise CorruptError(f"the pickle ends with {len(machine.stack)} values and {len(machine.marks)} open marks: one value is allowed")
    return machine.stack[0]
