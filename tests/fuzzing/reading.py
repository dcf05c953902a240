"""What our readers make of an input, as plain values which can be compared with what the references make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex
from memory_system import FOLDER

from ckpt_surgeon.errors import RulesError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.opening import open_checkpoint
from ckpt_surgeon.formats.pickle_nodes import Node
from ckpt_surgeon.formats.pickle_reader import read_pickle
from ckpt_surgeon.formats.pickle_writer import write_pickle
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.keys import patience, pattern, regular
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules import entries
from ckpt_surgeon.rules.reader import read_rules
from ckpt_surgeon.rules.rule import Rules
from ckpt_surgeon.spec import Header, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["HeldTable", "HeldTensor", "held_tensor", "read_checkpoint", "read_one_pickle", "read_rules_file"]

# Larger tensors (expanded ones, mostly) are compared by shape and dtype alone.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class HeldTensor:
    """A tensor as values: shape, dtype by torch's name, bytes (None: too many to look at)."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class HeldTable:
    """The table of a checkpoint: its dotted place in the file, its keys in order, its plain tensors."""

    place: str
    keys: list[str]
    tensors: Mapping[str, HeldTensor]


def held_tensor(tensor: torch.Tensor) -> HeldTensor:
    """A torch tensor as values."""
    import torch

    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if tensor.numel() * tensor.itemsize > _MOST_BYTES:
        return HeldTensor(shape, dtype, None)
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    flat = plain.as_strided((plain.numel(),), (1,))  # a single element is contiguous whatever its strides
    return HeldTensor(shape, dtype, flat.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")


def read_checkpoint(files: Mapping[str, bytes]) -> HeldTable:
    """The first of the files, opened by content as a user's file is, every tensor and every opaque entry read."""
    with open_checkpoint(f"{FOLDER}/{next(iter(files))}") as reader:
        header = reader.header
        small = {key: spec for key, spec in header.tensors.items() if spec.nbytes <= _MOST_BYTES}
        tensors = {key: _read(reader, key, spec) for key, spec in small.items()}
        for key in header.opaque:
            _read_opaque(reader, key)
        large = {key: HeldTensor(spec.shape, spec.dtype.name, None) for key, spec in header.tensors.items() if key not in small}
        return HeldTable(header.envelope.path, list(header.entries), tensors | large)


def _read(reader: Reader, key: str, spec: TensorSpec) -> HeldTensor:
    """The tensor, which has to be as its header says, and as the bytes which are copied without it."""
    found = held_tensor(reader.read(key))
    if (found.shape, found.dtype) != (spec.shape, spec.dtype.name):
        raise AssertionError(f"{key!r} is {found.shape} {found.dtype} where the header says {spec}")
    span = reader.span(key)
    if span is not None and span.read(0, span.nbytes) != found.data:
        raise AssertionError(f"{key!r} is read as other bytes than those of its span")
    return found


def _read_opaque(reader: Reader, key: str) -> None:
    try:
        reader.read_opaque(key)
    except SurgeryError as error:
        if isinstance(error, RulesError):
            raise AssertionError(f"{key!r} is refused as a rule is") from error


def read_one_pickle(files: Mapping[str, bytes]) -> Node:
    """The graph of a bare pickle; written and read again it is written the same."""
    (data,) = files.values()
    root, _ = read_pickle(data)
    try:
        written = write_pickle(root)
    except SurgeryError:
        return root
    again, end = read_pickle(written)
    if end != len(written) or write_pickle(again) != written:
        raise AssertionError("a pickle changes when it is written, read and written again")
    return root


_KEYS = ("a", "b", "layer.0.weight", "layer.0.bias", "layer.1.weight", "module.x", "a" * 60)
_SOURCE = Header({key: TensorSpec.of("float32", 2, 3) for key in _KEYS})
_TARGET = Header({key: TensorSpec.of("float32", 2, 3) for key in ("a", "new", "layer.0.weight", "net.b")})


def _forget_expressions() -> None:
    """Let each input find what the first one of a process finds: all time and room, nothing compiled."""
    pattern._parse.cache_clear()
    regular.require_small.cache_clear()
    regex.purge()
    patience.PATIENCE.debt, regular._ROOM.taken = 0.0, 0


def read_rules_file(files: Mapping[str, bytes]) -> Rules:
    """The rules, which then make a plan or are refused by one."""
    _forget_expressions()
    vars(entries)["plugin_names"] = frozenset  # what installed packages call their ops is no input's doing, and slow to look up
    rules = read_rules(f"{FOLDER}/{next(iter(files))}")
    for target in (None, _TARGET):
        try:
            make_plan(rules, _SOURCE, target, variables={"flag": True})
        except SurgeryError as error:
            if isinstance(error, UnsafeError):
                raise AssertionError("rules are refused as a file is") from error
    return rules
