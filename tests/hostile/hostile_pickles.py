"""Ways in which a pickle runs code, and places in a checkpoint where it may stand."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from dataclasses import dataclass

from hostile_files import EMPTY_ORDERED, TABLE, beside, called, listed, mapping, name, number, raw, sequence, storage, tensor, text, whole

from ckpt_surgeon.errors import CorruptError, SurgeryError, UnsafeError

# A module of the tests which a file may name; whatever is done to a Thing creates the file at the path which it is given.
CANARY_MODULE = """
import pathlib

class Thing:
    def __new__(cls, *paths, **more):
        for path in (*paths, *more.values()):
            pathlib.Path(path).touch()
        return super().__new__(cls)

    def __hash__(self):
        return 0

    def _touch(self, path, *rest):
        pathlib.Path(path[0] if isinstance(path, (list, tuple)) else path).touch()

    __setstate__ = __setitem__ = append = extend = add = _touch

    def update(self, items):
        self._touch(items)
"""


@dataclass(frozen=True)
class Payload:
    """A pickle expression which runs code. `error`: what the reader answers when it stands beside a table (None: it is only described).

    fires: whether the standard library's own unpickler runs it (some need a network, or only wait).
    """

    make: Callable[[str], bytes]
    error: type[SurgeryError] | None = None
    fires: bool = True


def shell(canary: str) -> bytes:
    return text(f"touch {canary}")


def script(canary: str) -> str:
    return f"open({canary!r}, 'w').close()"


def attack(canary: str) -> bytes:
    """The plainest of them."""
    return called("os.system", shell(canary))


def nested(canary: str) -> bytes:
    return whole(attack(canary))


def _stack_global(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def _by_memo(canary: str) -> bytes:
    names = text("os") + b"q\xf0" + text("system") + b"q\xf1\x860"
    return names + b"h\xf0h\xf1\x93" + shell(canary) + b"\x85R"


THING = name("canary_module.Thing")
NEW_THING = THING + b")\x81"
IMPORTED = called("builtins.__import__", text("os"))


def _partial(canary: str) -> bytes:
    state = sequence(name("os.system"), sequence(shell(canary)), b"}", b"N")
    return called("functools.partial", name("builtins.print")) + state + b"b)R"


def _marshalled(canary: str) -> bytes:
    code = marshal.dumps(compile(script(canary), "x", "exec"))
    scope = mapping((text("__builtins__"), called("builtins.__import__", text("builtins"))))
    return called("types.FunctionType", called("marshal.loads", raw(code)), scope) + b")R"


PAYLOADS: dict[str, Payload] = {
    "os.system": Payload(attack),
    "posix.system": Payload(lambda canary: called("posix.system", shell(canary))),
    "nt.system": Payload(lambda canary: called("nt.system", shell(canary)), fires=False),
    "builtins.exec": Payload(lambda canary: called("builtins.exec", text(script(canary)))),
    "builtins.eval": Payload(lambda canary: called("builtins.eval", text(script(canary)))),
    "eval by its name of Python 2": Payload(lambda canary: called("__builtin__.eval", text(script(canary)))),
    "a chain of getattr": Payload(lambda canary: called("builtins.getattr", IMPORTED, text("system")) + sequence(shell(canary)) + b"R"),
    "a method caller": Payload(lambda canary: called("operator.methodcaller", text("system"), shell(canary)) + sequence(IMPORTED) + b"R"),
    "an attribute getter": Payload(
        lambda canary: called("operator.attrgetter", text("system")) + sequence(IMPORTED) + b"R" + sequence(shell(canary)) + b"R"
    ),
    "a name resolved later": Payload(lambda canary: called("pkgutil.resolve_name", text("os:system")) + sequence(shell(canary)) + b"R"),
    "a map over a list": Payload(lambda canary: called("builtins.list", called("builtins.map", name("os.system"), listed(shell(canary))))),
    "a process": Payload(lambda canary: called("subprocess.check_output", listed(text("touch"), text(canary)))),
    "a timer's set-up": Payload(lambda canary: called("timeit.timeit", text("pass"), text(script(canary)))),
    "compiled code": Payload(_marshalled),
    "numpy's test runner": Payload(lambda canary: called("numpy.testing._private.utils.runstring", text(script(canary)), b"}")),
    "STACK_GLOBAL": Payload(lambda canary: _stack_global("os", "system") + shell(canary) + b"\x85R"),
    "STACK_GLOBAL of memoized names": Payload(_by_memo),
    "a name with dots": Payload(lambda canary: b"\x80\x04" + _stack_global("shutil", "os.system") + shell(canary) + b"\x85R"),
    "INST": Payload(lambda canary: b"(" + shell(canary) + b"ios\nsystem\n"),
    "OBJ": Payload(lambda canary: b"(cos\nsystem\n" + shell(canary) + b"o"),
    "NEWOBJ": Payload(lambda canary: THING + text(canary) + b"\x85\x81"),
    "NEWOBJ_EX": Payload(lambda canary: THING + b")" + mapping((text("path"), text(canary))) + b"\x92"),
    "BUILD of a __setstate__": Payload(lambda canary: NEW_THING + text(canary) + b"b"),
    "BUILD of a partial": Payload(_partial),
    "APPEND": Payload(lambda canary: NEW_THING + text(canary) + b"a"),
    "APPENDS": Payload(lambda canary: NEW_THING + b"(" + text(canary) + text(canary) + b"e"),
    "SETITEM": Payload(lambda canary: NEW_THING + text(canary) + b"Ns"),
    "SETITEMS": Payload(lambda canary: NEW_THING + b"(" + text(canary) + b"Nu"),
    "ADDITEMS": Payload(lambda canary: NEW_THING + b"(" + text(canary) + b"\x90", CorruptError),
    "EXT1": Payload(lambda canary: b"\x82\xe9" + shell(canary) + b"\x85R", UnsafeError),
    "EXT2": Payload(lambda canary: b"\x83\xe9\x00" + shell(canary) + b"\x85R", UnsafeError),
    "EXT4": Payload(lambda canary: b"\x84\xe9\x00\x00\x00" + shell(canary) + b"\x85R", UnsafeError),
    "an out-of-band buffer": Payload(lambda canary: b"\x97", UnsafeError, fires=False),
    "a persistent id which is a call": Payload(lambda canary: attack(canary) + b"Q", CorruptError),
    "a persistent id with a call": Payload(lambda canary: sequence(text("storage"), attack(canary)) + b"Q", CorruptError),
    "a persistent id which is a name": Payload(lambda canary: name("os.system") + b"Q", CorruptError, fires=False),
    "a persistent id which is a text": Payload(lambda canary: b"Pos.system\n", CorruptError, fires=False),
    "a pickle in bytes": Payload(lambda canary: raw(nested(canary)), fires=False),
    "pickle.loads": Payload(lambda canary: called("pickle.loads", raw(nested(canary)))),
    "_pickle.loads": Payload(lambda canary: called("_pickle.loads", raw(nested(canary)))),
    "torch's nested storages": Payload(lambda canary: called("torch.storage._load_from_bytes", raw(nested(canary)))),
    "torch.hub": Payload(lambda canary: called("torch.hub.load", text("nobody/nothing"), text("net")), fires=False),
    "torch.load": Payload(lambda canary: called("torch.load", text(canary)), fires=False),
    "a compiler of torch": Payload(lambda canary: called("torch.utils.cpp_extension.load_inline", text("x"), text("")), fires=False),
    "a subclass made by a command": Payload(
        lambda canary: called("torch._tensor._rebuild_from_type_v2", name("os.system"), name("torch.Tensor"), sequence(shell(canary)), b"}")
    ),
    "thrown away": Payload(lambda canary: attack(canary) + b"0N"),
    "thrown away with its mark": Payload(lambda canary: b"(" + attack(canary) + b"1N"),
    "for what it does to a list": Payload(lambda canary: b"]q\xf2" + called("os.system", shell(canary)) + b"0"),
    "a class as the key of a dict": Payload(lambda canary: mapping((THING + text(canary) + b"\x85\x81", b"N"))),
    "a member of a set": Payload(lambda canary: b"\x8f(" + attack(canary) + b"\x90"),
    "a member of a frozenset": Payload(lambda canary: b"(" + attack(canary) + b"\x91"),
}


def _with(**parts: bytes) -> bytes:
    return mapping((text("a"), tensor()), (text("b"), tensor(**parts)))


def _on(place: bytes) -> bytes:
    return mapping((text("a"), tensor()), (text("b"), tensor(place)))


def _ordered(payload: bytes) -> bytes:
    return EMPTY_ORDERED + b"(" + text("a") + tensor() + b"u" + mapping((text("_metadata"), payload)) + b"b"


def _module(payload: bytes) -> bytes:
    buffers = mapping((text("x"), payload))
    state = mapping((text("_parameters"), TABLE), (text("_buffers"), buffers), (text("_modules"), b"}"))
    return name("torch.nn.Identity") + b")\x81" + state + b"b"


# Where in a file's object graph the payload stands, and the answer (None: it is only described).
PLACES: dict[str, tuple[Callable[[bytes], bytes], type[SurgeryError] | None]] = {
    "the root": (lambda payload: payload, CorruptError),
    "the only entry": (lambda payload: mapping((text("a"), payload)), CorruptError),
    "beside the table": (beside, None),
    "in a list beside the table": (lambda payload: beside(listed(payload)), None),
    "the key of what stands beside": (lambda payload: mapping((text("state_dict"), TABLE), (payload, b"N")), None),
    "the key of an entry": (lambda payload: mapping((text("a"), tensor()), (payload, tensor())), CorruptError),
    "an entry": (lambda payload: mapping((text("a"), tensor()), (text("b"), tensor()), (text("odd"), payload)), None),
    "a tensor's hooks": (lambda payload: _with(hooks=payload), None),
    "a tensor's gradient flag": (lambda payload: _with(grad=payload), None),
    "a tensor's offset": (lambda payload: _with(offset=payload), CorruptError),
    "a tensor's size": (lambda payload: _with(size=payload), CorruptError),
    "one size of a tensor": (lambda payload: _with(size=sequence(payload, number(3))), CorruptError),
    "one stride of a tensor": (lambda payload: _with(stride=sequence(payload, number(1))), CorruptError),
    "a tensor's metadata": (lambda payload: mapping((text("a"), tensor()), (text("b"), tensor()), (text("c"), tensor(more=payload))), None),
    "a tensor's storage": (_on, CorruptError),
    "a storage's class": (lambda payload: _on(storage(owner=payload)), CorruptError),
    "a storage's key": (lambda payload: _on(storage(key=payload)), CorruptError),
    "a storage's device": (lambda payload: _on(storage(location=payload)), CorruptError),
    "a storage's length": (lambda payload: _on(storage(numel=payload)), CorruptError),
    "_metadata": (_ordered, None),
    "a module's buffer": (_module, None),
    "an argument of OrderedDict": (lambda payload: beside(called("collections.OrderedDict", payload)), None),
    "optimizer state": (lambda payload: beside(mapping((text("state"), payload), (text("param_groups"), b"]")), "optimizer"), None),
}


def _after(honest: bytes, payload: bytes) -> bytes:
    """The honest value stays, the payload runs and is thrown away."""
    return honest + payload + b"0"


# Which of the five pickles of the older stream holds the payload: (part, body, answer).
STREAM_PLACES: dict[str, tuple[str, Callable[[bytes], bytes], type[SurgeryError] | None]] = {
    "before the magic number": ("magic", lambda payload: payload + b"0" + number(0x1950A86A20F9469CFC6C), CorruptError),
    "instead of the magic number": ("magic", lambda payload: payload, CorruptError),
    "after the magic number": ("magic", lambda payload: _after(number(0x1950A86A20F9469CFC6C), payload), None),
    "instead of the protocol": ("protocol", lambda payload: payload, CorruptError),
    "after the protocol": ("protocol", lambda payload: _after(number(1001), payload), None),
    "instead of the system": ("system", lambda payload: payload, None),
    "in the system": ("system", lambda payload: mapping((text("little_endian"), payload)), None),
    "in the object": ("root", beside, None),
    "instead of the object": ("root", lambda payload: payload, CorruptError),
    "instead of the keys": ("keys", lambda payload: payload, CorruptError),
    "in the keys": ("keys", lambda payload: listed(text("0"), payload), CorruptError),
    "after the keys": ("keys", lambda payload: _after(listed(text("0")), payload), None),
}
