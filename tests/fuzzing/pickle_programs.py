"""Pickles as lists of opcodes: checkpoints by a grammar of what torch writes (and of what it never does), real ones, rearranged ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from chance import Chance
from pickle_values import (
    DEEPEST,
    DTYPE_WIDTHS,
    FORMS,
    KEYS,
    STORAGES,
    WIDTH_OF,
    Make,
    Program,
    call,
    dict_of,
    mapping_of,
    name,
    number,
    pair,
    text,
    tuple_of,
    value,
)

__all__ = ["checkpoint", "pickle_of", "program", "rearranged", "tensor"]

# Tensors


def _storage(chance: Chance, owner: str, key: str = "0") -> Program:
    """The persistent id of one of STORAGES with elements of `owner`; rarely something is wrong with it."""
    numel = len(STORAGES[key]) // WIDTH_OF[owner]
    if chance.one_in(40):
        numel = chance.number_near(numel)
    parts = [[text(chance, "storage")], name(chance, owner), [text(chance, key)], [text(chance, "cpu")], [number(chance, numel)]]
    if chance.one_in(40):
        parts = chance.rearranged(parts, [value(chance, 1)])
    if chance.one_in(100):
        view = [[text(chance, "9")], [number(chance, chance.below(3))], [number(chance, chance.below(5))]]
        parts.append(tuple_of(chance, view))
    return [*tuple_of(chance, parts), b"Q"]


def _sizes(chance: Chance, sizes: Sequence[int]) -> Program:
    """A tuple of sizes, or what stands for one."""
    changed = [chance.number_near(size) if chance.one_in(60) else size for size in sizes]
    found = tuple_of(chance, [[number(chance, size)] for size in changed])
    return call(chance, "torch.Size", found) if chance.one_in(12) else found


def tensor(chance: Chance, _depth: int) -> Program:
    """A tensor, most often one which fits its storage."""
    if chance.one_in(12):
        return chance.choice(_ODD_TENSORS)(chance, 1)
    owner, key = chance.choice(tuple(WIDTH_OF)), chance.choice(("0", "0", "1", "1", "2"))
    dtype = chance.choice(tuple(DTYPE_WIDTHS)) if owner.endswith("UntypedStorage") else ""
    room = len(STORAGES[key]) // (DTYPE_WIDTHS[dtype] if dtype else WIDTH_OF[owner])
    shape = _shape(chance, room)
    strides = [chance.below(3) for _ in shape] if chance.one_in(8) else _contiguous(shape)
    offset = chance.number_near(0) if chance.one_in(20) else 0
    common = [_storage(chance, owner, key), [number(chance, offset)], _sizes(chance, shape), _sizes(chance, strides)]
    tail = [[b"\x89"], call(chance, "collections.OrderedDict")]
    metadata = [mapping_of(chance, [b"}"], [[text(chance, "conj"), b"\x88"]])] if chance.one_in(16) else []
    if dtype:
        return call(chance, "torch._utils._rebuild_tensor_v3", *common, *tail, name(chance, dtype), *metadata)
    if chance.one_in(12):
        return call(chance, "torch._utils._rebuild_tensor", *common)
    return call(chance, "torch._utils._rebuild_tensor_v2", *common, *tail, *metadata)


def _shape(chance: Chance, room: int) -> list[int]:
    """Sizes of at most `room` elements; rarely of more."""
    shape: list[int] = []
    for _ in range(chance.below(4)):
        size = chance.choice((0, 1, 2, 3))
        shape.append(size if size <= room or chance.one_in(20) else min(room, 1))
        room //= max(size, 1)
    return shape


def _contiguous(shape: Sequence[int]) -> list[int]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return strides[::-1]


def _parameter(chance: Chance, _depth: int) -> Program:
    return call(chance, "torch._utils._rebuild_parameter", tensor(chance, 0), [b"\x88"], call(chance, "collections.OrderedDict"))


def _attributed(chance: Chance, _depth: int) -> Program:
    inner = [_storage(chance, "torch.FloatStorage"), [b"K\x00"], [b"K\x02", b"\x85"], [b"K\x01", b"\x85"], [b"\x89"], [b"}"]]
    rebuild, kind = name(chance, "torch._utils._rebuild_tensor_v2"), name(chance, chance.choice(("torch.Tensor", "a.b.Sub")))
    return call(chance, "torch._tensor._rebuild_from_type_v2", rebuild, kind, tuple_of(chance, inner), dict_of(chance, 0))


def _sparse(chance: Chance, _depth: int) -> Program:
    layout = call(chance, "torch.serialization._get_layout", [text(chance, "torch.sparse_coo")])
    size = call(chance, "torch.Size", tuple_of(chance, [[b"K\x03"]]))
    parts = [tensor(chance, 0), tensor(chance, 0), size, [b"\x88"]]
    return call(chance, "torch._utils._rebuild_sparse_tensor", layout, tuple_of(chance, parts))


def _quantized(chance: Chance, _depth: int) -> Program:
    quantizer = tuple_of(chance, [name(chance, "torch.per_tensor_affine"), [b"G" + bytes(8)], [b"K\x00"]])
    parts = [[b"K\x00"], [b"K\x02", b"\x85"], [b"K\x01", b"\x85"], quantizer, [b"\x89"], [b"}"]]
    return call(chance, "torch._utils._rebuild_qtensor", _storage(chance, "torch.QInt8Storage"), *parts)


_ODD_TENSORS: tuple[Make, ...] = (_parameter, _parameter, _attributed, _sparse, _quantized)
FORMS.extend((tensor, _parameter))


# Whole pickles


def _table(chance: Chance) -> Program:
    keys = chance.sample(KEYS[:5], chance.below(4) + 1)
    pairs = [[text(chance, key), *(value(chance, 1) if chance.one_in(16) else tensor(chance, 0))] for key in keys]
    is_ordered = chance.one_in(2)
    found = mapping_of(chance, call(chance, "collections.OrderedDict") if is_ordered else [b"}"], pairs)
    if not is_ordered or chance.one_in(2):
        return found
    metadata = mapping_of(chance, [b"}"], [[text(chance, key), b"}", text(chance, "version"), b"K\x01", b"s"] for key in keys[:2]])
    return [*found, b"}", text(chance, "_metadata"), *metadata, b"s", b"b"]


def checkpoint(chance: Chance) -> Program:
    """A table, mostly with an envelope around it."""
    chance.is_plain = not chance.one_in(4)
    if chance.one_in(2):
        return _table(chance)
    name = chance.choice(("state_dict", "model", "net", "anything"))
    return mapping_of(chance, [b"}"], [[text(chance, name), *_table(chance)], *(pair(chance, DEEPEST) for _ in range(chance.below(3)))])


def program(chance: Chance, seeds: Sequence[Program]) -> Program:
    """The opcodes of a pickle without PROTO and STOP: of a checkpoint, of any value, or of one of `seeds`, perhaps rearranged."""
    how = chance.below(10)
    found = checkpoint(chance) if how < 6 else list(chance.choice(seeds)) if how < 9 else value(chance, DEEPEST)
    return rearranged(chance, found, seeds) if chance.one_in(4) else found


def rearranged(chance: Chance, opcodes: Program, seeds: Sequence[Program]) -> Program:
    """The opcodes after one to four changes of places, or with runs of other pickles among them."""
    for _ in range(chance.few()):
        opcodes = chance.rearranged(opcodes, chance.choice(seeds))
    return opcodes


def pickle_of(chance: Chance, opcodes: Program) -> bytes:
    """The bytes of a pickle; rarely they are edited, and its frame or its protocol is not what it should be."""
    body = b"".join(opcodes)
    protocol = b"\x80%c" % chance.choice((2, 2, 2, 3, 4, 5)) if not chance.one_in(200) else b"\x80%c" % chance.below(256)
    if chance.one_in(20):
        nbytes = len(body) + 1
        protocol += b"\x95" + struct.pack("<Q", chance.field_near(nbytes, 8) if chance.one_in(8) else nbytes)
    found = protocol + body + b"."
    return chance.edited(found, body) if chance.one_in(12) else found
