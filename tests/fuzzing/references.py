"""What the field's own readers make of the same bytes, and whether that is what ours made of them."""

from __future__ import annotations

import io
import json
import pickle
import reprlib
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reading import HeldTable, HeldTensor, held_tensor

from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node, Persistent, Set
from ckpt_surgeon.formats.pickle_reader import read_pickle
from ckpt_surgeon.formats.safetensors_table import TAGS

_FRAME = b"\x95"
_STORAGE_KEY = 2  # its place in a persistent id
_OBJECT = 3  # pickles stand before it in the older layout

__all__ = [
    "Loaded",
    "NoTableError",
    "by_pickle",
    "by_safetensors",
    "by_shards",
    "by_torch",
    "same_held",
    "same_saved",
    "same_table",
    "same_value",
]


class NoTableError(Exception):
    """The reference reads the input, and what it finds is no table of tensors."""


# torch


@dataclass(frozen=True, slots=True)
class Loaded:
    """What torch made of a file."""

    value: Any
    data: bytes


def by_torch(files: Mapping[str, bytes]) -> Loaded:
    """What `torch.load(weights_only=True)` makes of the first file."""
    import torch

    data = next(iter(files.values()))
    found = torch.load(io.BytesIO(data), weights_only=True)
    if not any(isinstance(value, torch.Tensor) for table in _tables(found) for value in table.values()):
        raise NoTableError("no table")
    return Loaded(found, data)


def _is_misread(data: bytes) -> bool:
    """Whether torch is known to read such a file wrong."""
    # Of a storage under two classes it takes the first for all tensors; an untyped one of a big-endian file it leaves in its order.
    return (b"byteorderbig" in data and b"UntypedStorage" in data) or _has_storage_of_two_classes(data)


def _has_storage_of_two_classes(data: bytes) -> bool:
    owners: dict[str, str] = {}
    ids = [node.pid for node in _persistents(data) if type(node.pid) is tuple and len(node.pid) > _STORAGE_KEY]
    return any(owners.setdefault(str(pid[_STORAGE_KEY]), pid[1].path) != pid[1].path for pid in ids if type(pid[1]) is Global)


def _persistents(data: bytes) -> list[Persistent]:
    """The persistent ids of a file of either layout."""
    found: list[Persistent] = []
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            read_pickle(opened.read(next(name for name in opened.namelist() if name.endswith("/data.pkl"))), persistents=found)
        return found
    end = 0
    for _ in range(_OBJECT + 1):
        _, end = read_pickle(data, end, found)
    return found


def _tables(value: Any, levels: int = 2) -> list[Mapping[Any, Any]]:
    """The mapping itself, and those right inside it."""
    if not isinstance(value, Mapping) or not levels:
        return []
    return [value, *(table for inner in value.values() for table in _tables(inner, levels - 1))]


def same_table(found: HeldTable, wanted: Loaded) -> str:
    """What differs between our table and the reference's object; empty where nothing does."""
    table = wanted.value
    for name in found.place.split(".") if found.place else ():
        table = (
            table.get("" if name == "''" else name)
            if isinstance(table, Mapping)
            else table[int(name)]
            if isinstance(table, list | tuple)
            else None
        )
    if not isinstance(table, Mapping):
        return ""  # a place whose names hold dots, or an object's attribute
    told = _difference(found, table)
    return "" if told and _is_misread(wanted.data) else told


def _difference(found: HeldTable, table: Mapping[Any, Any]) -> str:
    import torch

    names = [key.decode("latin-1") if isinstance(key, bytes) else key for key in table]
    if names != found.keys:
        return f"the keys {names} are read as {found.keys}"
    values = dict(zip(names, table.values(), strict=True))
    for key, tensor in found.tensors.items():
        value = values[key]
        is_plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
        if not is_plain or held_tensor(value) != tensor:
            return f"{key!r} is {tensor}, and to the reference {_shown(value)}"
    return ""


def _shown(value: Any) -> str:
    """A tensor, which may be one that cannot show itself."""
    parts = (getattr(value, name, "") for name in ("shape", "dtype", "layout"))
    return f"{type(value).__name__} {' '.join(map(str, parts))}"


# safetensors


def by_safetensors(files: Mapping[str, bytes]) -> dict[str, HeldTensor]:
    """What the safetensors library makes of the first file."""
    return _deserialized(next(iter(files.values())))


def _deserialized(data: bytes) -> dict[str, HeldTensor]:
    import safetensors

    return {
        key: HeldTensor(
            tuple(entry["shape"]), TAGS[entry["dtype"]].name if entry["dtype"] in TAGS else entry["dtype"], bytes(entry["data"])
        )
        for key, entry in safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    }


def by_shards(files: Mapping[str, bytes]) -> dict[str, HeldTensor]:
    """The shards which the index names, each read by the safetensors library."""
    index, *_ = files.values()
    homes: dict[str, str] = json.loads(index)["weight_map"]
    return {key: tensor for name in sorted(set(homes.values())) for key, tensor in _deserialized(files[name]).items()}


def same_held(found: HeldTable, wanted: Mapping[str, HeldTensor]) -> str:
    """What differs; keys which are second names are ours alone."""
    own = {key: tensor for key, tensor in found.tensors.items() if key in wanted}
    return "" if own == dict(wanted) else f"{own} where the reference has {dict(wanted)}"


def same_saved(found: HeldTable, wanted: Mapping[str, HeldTensor]) -> str:
    """What differs from what was saved; the table may be a part of it."""
    start = f"{found.place}." if found.place else ""
    return next((f"{key!r} is {tensor}" for key, tensor in found.tensors.items() if wanted.get(start + key) != tensor), "")


# pickle


class _Anything:
    """Stands for whatever a pickle names, and takes whatever is done to it."""

    def __new__(cls, *_arguments: Any, **_options: Any) -> Any:
        return super().__new__(cls)

    def __call__(self, *_arguments: Any, **_options: Any) -> Any:
        return self

    __init__ = __setstate__ = __setitem__ = append = extend = add = lambda self, *_arguments, **_options: None


class _Inert(pickle.Unpickler):
    """Python's own unpickler, to which all names are Anything."""

    def find_class(self, module: str, name: str) -> Any:
        return _Anything

    def persistent_load(self, pid: Any) -> Any:
        return _Anything()


def _has_wrong_frame(data: bytes) -> bool:
    return data[2:3] == _FRAME and int.from_bytes(data[3:11], "little") != len(data) - 11


def by_pickle(files: Mapping[str, bytes]) -> Any:
    """What Python's unpickler makes of a pickle whose names are nothing."""
    (data,) = files.values()
    if _has_wrong_frame(data):
        raise NoTableError  # Python's own unpickler reads numbers wrong which a frame's end cuts
    return _Inert(io.BytesIO(data), encoding="utf-8").load()


def same_value(found: Node, wanted: Any, seen: set[int] | None = None) -> str:
    """What differs between our node and Python's value; a node which is met again is not compared again."""
    seen = set() if seen is None else seen
    if id(found) in seen or type(found) in (Global, Call, Persistent):
        return ""
    if type(found) is Set:
        return "" if isinstance(wanted, set | frozenset) else _told(found, wanted)
    if type(found) is not Dict and not isinstance(found, list | tuple):
        return "" if _scalar(found) == _scalar(wanted) else _told(found, wanted)
    seen.add(id(found))
    ours, theirs = _parts(found), _parts(wanted)
    if type(wanted) is not (dict if type(found) is Dict else type(found)) or set(ours) != set(theirs):
        return _told(found, wanted)
    return next((told for key, part in ours.items() if (told := same_value(part, theirs[key], seen))), "")


def _parts(value: Any) -> dict[Any, Any]:
    """Place -> value; of a dict only what stands under strings, since 1, True and 1.0 are one key to Python."""
    pairs = value.pairs if type(value) is Dict else value.items() if isinstance(value, dict) else enumerate(value)
    return {str(key): part for key, part in pairs if isinstance(key, str) or not isinstance(value, dict | Dict)}


def _told(found: Any, wanted: Any) -> str:
    return f"{reprlib.repr(found)} where Python has {reprlib.repr(wanted)}"


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    return (str, str(value)) if isinstance(value, str) else (type(value), value)
