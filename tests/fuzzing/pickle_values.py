"""The values of a pickle as lists of opcodes: numbers, texts, names, containers and calls, in every form which pickle has for them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from chance import BOUNDARIES, Chance

__all__ = [
    "DEEPEST",
    "DTYPE_WIDTHS",
    "FORMS",
    "KEYS",
    "STORAGES",
    "WIDTH_OF",
    "Make",
    "Program",
    "call",
    "dict_of",
    "mapping_of",
    "name",
    "number",
    "pair",
    "text",
    "tuple_of",
    "value",
]

Program = list[bytes]
Make = Callable[[Chance, int], Program]

# Storages beside every pickle: name -> bytes. Their elements make small floats, and lie within any integer type.
STORAGES = {"0": struct.pack("<6f", 1, 2, 3, 4, 5, 6), "1": bytes(range(1, 17)), "2": b""}
DEEPEST = 4

WIDTH_OF = {
    "torch.FloatStorage": 4,
    "torch.DoubleStorage": 8,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.ComplexFloatStorage": 8,
    "torch.storage.UntypedStorage": 1,
    "torch.QInt8Storage": 1,
}
DTYPE_WIDTHS = {"torch.float32": 4, "torch.uint16": 2, "torch.float8_e5m2": 1, "torch.int64": 8, "torch.complex64": 8, "torch.qint8": 1}
_NAMES = (
    *WIDTH_OF,
    *DTYPE_WIDTHS,
    "os.system",
    "builtins.eval",
    "__builtin__.getattr",
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.serialization._get_layout",
    "torch.nn.parameter.Parameter",
    "torch.Tensor",
    "argparse.Namespace",
    "_codecs.encode",
    "numpy.core.multiarray.scalar",
    "a.b.c",
    ".",
    "torch.storage._load_from_bytes",
)
KEYS = ("a", "b", "layer.0.weight", "layer.0.bias", "", "state_dict", "model", "epoch", "optimizer", "state", "param_groups", "_metadata")
_TEXTS = (
    *KEYS,
    "0",
    "1",
    "2",
    "cpu",
    "cuda:0",
    "storage",
    "module",
    "latin1",
    "\n",
    "\x1b[31m",
    "\ud800",
    "é権😀",
    "x" * 300,
    "\\u0041",
    "conj",
)


# Atoms


def number(chance: Chance, value: int) -> bytes:
    """An int by any opcode which can hold it, by that which torch writes where all is plain."""
    if 0 <= value < 65536 and (chance.is_plain or chance.one_in(2)):
        return b"K%c" % value if value < 256 else b"M" + struct.pack("<H", value)
    forms = [b"L%dL\n" % value, b"I%d\n" % value]
    nbytes = value.bit_length() // 8 + 1
    forms.append(b"\x8a%c" % nbytes + value.to_bytes(nbytes, "little", signed=True))
    if -(2**31) <= value < 2**31:
        forms += [b"J" + struct.pack("<i", value)] * 2
    return chance.choice(forms)


def text(chance: Chance, value: str) -> bytes:
    """A string by any opcode which can hold it, by that which torch writes where all is plain."""
    raw = value.encode("utf-8", "surrogatepass")
    how = 0 if chance.is_plain else chance.below(12)
    if how < 7:
        return b"X" + struct.pack("<I", len(raw)) + raw
    if how == 7 and len(raw) < 256:
        return b"\x8c%c" % len(raw) + raw
    if how == 8:
        return b"\x8d" + struct.pack("<Q", len(raw)) + raw
    if how == 9 and "\n" not in value:
        return b"V" + value.encode("raw-unicode-escape", "backslashreplace") + b"\n"
    if how == 10 and len(raw) < 256:
        return b"U%c" % len(raw) + raw
    return b"S" + repr(value).encode("ascii", "backslashreplace") + b"\n" if how == 11 else b"T" + struct.pack("<i", len(raw)) + raw


def name(chance: Chance, path: str) -> Program:
    module, _, attribute = path.rpartition(".")
    if not chance.is_plain and chance.one_in(8):
        return [text(chance, module), text(chance, attribute), b"\x93"]
    return [f"c{module}\n{attribute}\n".encode()]


def _bytes(chance: Chance, _depth: int) -> Program:
    raw = chance.randbytes(chance.below(5))
    return [chance.choice((b"C%c" % len(raw), b"B" + struct.pack("<I", len(raw)), b"\x96" + struct.pack("<Q", len(raw)))) + raw]


def _float(chance: Chance, _depth: int) -> Program:
    value = chance.choice((0.0, -1.5, 1e308, float("inf"), float("nan")))
    return [b"G" + struct.pack(">d", value) if chance.one_in(2) else b"F%r\n" % value]


def _memo(chance: Chance, _depth: int) -> Program:
    index = chance.below(6)
    return [chance.choice((b"h%c" % index, b"j" + struct.pack("<I", index), b"g%d\n" % index))]


_ATOMS: tuple[Make, ...] = (
    lambda chance, _: [number(chance, chance.choice(BOUNDARIES))],
    lambda chance, _: [number(chance, chance.below(300))],
    lambda chance, _: [text(chance, chance.choice(_TEXTS))],
    lambda chance, _: [text(chance, chance.choice(_TEXTS))],
    lambda chance, _: [chance.choice((b"N", b"\x88", b"\x89", b"I01\n", b"I00\n", b")", b"]", b"}", b"\x8f"))],
    lambda chance, _: name(chance, chance.choice(_NAMES)),
    _bytes,
    _float,
    lambda chance, depth: _memo(chance, depth) if chance.one_in(4) else [b"N"],
)


def value(chance: Chance, depth: int) -> Program:
    """Any value, in which others are nested up to `depth` levels."""
    make = chance.choice(FORMS) if depth and chance.one_in(2) else chance.choice(_ATOMS)
    found = make(chance, depth - 1)
    return found + _remembered(chance) if chance.one_in(6) else found


def _remembered(chance: Chance) -> Program:
    index = chance.below(6)
    return [chance.choice((b"q%c" % index, b"r" + struct.pack("<I", index), b"p%d\n" % index, b"\x94"))]


# Containers and calls


def _values(chance: Chance, depth: int) -> list[Program]:
    return [value(chance, depth) for _ in range(chance.below(4))]


def _joined(parts: Sequence[Program]) -> Program:
    return [opcode for part in parts for opcode in part]


def tuple_of(chance: Chance, parts: Sequence[Program]) -> Program:
    if not parts:
        return [b")"]
    if len(parts) < 4 and not chance.one_in(4):
        return [*_joined(parts), (b"\x85", b"\x86", b"\x87")[len(parts) - 1]]
    return [b"(", *_joined(parts), b"t"]


def mapping_of(chance: Chance, start: Program, parts: Sequence[Program]) -> Program:
    """`start` filled with pairs of which each part is one."""
    if chance.one_in(4):
        return start + _joined([[*part, b"s"] for part in parts])
    return [*start, b"(", *_joined(parts), b"u"]


def call(chance: Chance, path: str, *arguments: Program) -> Program:
    """A call of a name; now and then one argument is another value, or one too many or too few."""
    given = list(arguments)
    if given and chance.one_in(40):
        given[chance.below(len(given))] = value(chance, 1)
    if chance.one_in(100):
        given = chance.rearranged(given, [value(chance, 1)])
    return [*name(chance, path), *tuple_of(chance, given), b"R"]


def pair(chance: Chance, depth: int) -> Program:
    return [text(chance, chance.choice(KEYS)), *value(chance, depth)]


def _list(chance: Chance, depth: int) -> Program:
    parts = _values(chance, depth)
    if not chance.is_plain and chance.one_in(3):
        return [b"(", *_joined(parts), b"l"]
    return [b"]", *_joined([[*part, b"a"] for part in parts])] if chance.one_in(2) else [b"]", b"(", *_joined(parts), b"e"]


def _set(chance: Chance, depth: int) -> Program:
    parts = _joined(_values(chance, depth))
    return [b"\x8f", b"(", *parts, b"\x90"] if chance.one_in(2) else [b"(", *parts, b"\x91"]


def dict_of(chance: Chance, depth: int) -> Program:
    parts = [pair(chance, depth) for _ in range(chance.below(4))]
    return [b"(", *_joined(parts), b"d"] if not chance.is_plain and chance.one_in(4) else mapping_of(chance, [b"}"], parts)


def _object(chance: Chance, depth: int) -> Program:
    """An object of some class, made in each of the ways which pickle has, perhaps with a state."""
    path, arguments = chance.choice(_NAMES), _values(chance, depth)
    module, _, attribute = path.rpartition(".")
    made: Program = chance.choice(
        (
            [*name(chance, path), *tuple_of(chance, arguments), b"\x81"],
            [*name(chance, path), *tuple_of(chance, arguments), b"R"],
            [*name(chance, path), *tuple_of(chance, arguments), *dict_of(chance, 0), b"\x92"],
            [b"(", *_joined(arguments), f"i{module}\n{attribute}\n".encode()],
            [b"(", *name(chance, path), *_joined(arguments), b"o"],
        )
    )
    return [*made, *dict_of(chance, depth), b"b"] if chance.one_in(2) else made


# What is nested in a value; tensors are added to it.
FORMS: list[Make] = [dict_of, _list, lambda chance, depth: tuple_of(chance, _values(chance, depth)), _set, _object]
