"""Distributed checkpoints: what torch saves, its `.metadata` rearranged, its files edited, exchanged, left out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from chance import Chance
from pickle_programs import pickle_of, rearranged
from pickle_values import Program, number
from reading import HeldTensor, held_tensor
from real_files import opcodes_of, with_steady_names

__all__ = ["as_saved", "distributed_folder"]

_METADATA = ".metadata"


@cache
def _folders() -> tuple[tuple[Mapping[str, bytes], Mapping[str, HeldTensor]], ...]:
    """Folders which torch saved (the metadata first), and the tensors in them."""
    return tuple(_saved(value) for value in _contents())


def _contents() -> list[dict[str, Any]]:
    import torch

    table = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor(True), "d": torch.zeros(0, 2), "e": torch.ones(3).to(torch.bfloat16)}
    return [table, {"model": table, "epoch": 3, "note": "x"}, {"a": torch.ones(4), "step": [1, 2, {"b": torch.ones(2)}]}]


def _saved(value: dict[str, Any]) -> tuple[Mapping[str, bytes], Mapping[str, HeldTensor]]:
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    with tempfile.TemporaryDirectory() as folder:
        save(value, storage_writer=FileSystemWriter(folder), no_dist=True)
        names = sorted((path.name for path in Path(folder).iterdir()), key=lambda name: (name != _METADATA, name))
        return {name: _steady((Path(folder) / name).read_bytes(), folder) for name in names}, dict(_tensors(value, ""))


def _steady(data: bytes, folder: str) -> bytes:
    """The bytes without the name of the folder, which the metadata holds."""
    name = Path(folder).name.encode()
    return with_steady_names(data).replace(name, b"x" * len(name))


def _tensors(value: Any, place: str) -> list[tuple[str, HeldTensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        return [(place, held_tensor(value))]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in _tensors(inner, f"{place}.{key}" if place else str(key))]


@cache
def _programs() -> tuple[Program, ...]:
    return tuple(opcodes_of(files[_METADATA]) for files, _ in _folders())


def distributed_folder(chance: Chance) -> Mapping[str, bytes]:
    """A folder of torch's with its metadata, its bytes or its files changed."""
    index = chance.below(len(_folders()))
    files = dict(_folders()[index][0])
    how = chance.below(8)
    if how < 5:
        files[_METADATA] = _changed_metadata(chance, _programs()[index])
    if how in (4, 5, 6):
        name = chance.choice(list(files))
        files[name] = chance.edited(files[name], files[_METADATA])
    if how == 7 and not chance.one_in(3):
        del files[chance.choice([name for name in files if name != _METADATA])]
    return files


def _changed_metadata(chance: Chance, opcodes: Program) -> bytes:
    """The pickle with some of its numbers changed, or rearranged."""
    if chance.one_in(3):
        return pickle_of(chance, rearranged(chance, opcodes, _programs()))
    changed = list(opcodes)
    places = [at for at, opcode in enumerate(changed) if opcode[:1] in (b"K", b"M", b"J")]
    for at in chance.sample(places, min(chance.few(), len(places))):
        changed[at] = number(chance, chance.number_near(int.from_bytes(changed[at][1:], "little")))
    return pickle_of(chance, changed)


def as_saved(files: Mapping[str, bytes]) -> Mapping[str, HeldTensor]:
    """The tensors which were saved under this metadata; KeyError where it is not torch's own, which nobody should let torch unpickle."""
    known = {saved[_METADATA]: tensors for saved, tensors in _folders()}
    return known[files[_METADATA]]
