"""Safetensors files: a length, a JSON table of tensors, their bytes. And folders of them with an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chance import Chance
from json_texts import changed, text_of
from real_files import safetensors_files

__all__ = ["indexed_folder", "safetensors_file"]

_LENGTH_BYTES = 8
_WIDTHS = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "U16": 2, "U32": 4, "U64": 8}
_NEWER = {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8}
_KEYS = ("a", "b", "layer.0.weight", "", "é😀", "__x__", "c", "\x1b[0m", "d" * 100)
_METADATA = (
    {"format": "pt"},
    {"ckpt_surgeon.ties": '{"tied":"a"}', "ckpt_surgeon.order": '["tied","a"]'},
    {"ckpt_surgeon.torch_metadata": '{"":{"version":1}}'},
    {"ckpt_surgeon.ties": '{"a":"a"}'},
    {"ckpt_surgeon.order": "[1"},
    {"ckpt_surgeon.torch_metadata": "[" * 100},
)
_INDEX = "model.safetensors.index.json"


def _table(chance: Chance, keys: list[str]) -> tuple[dict[str, Any], int]:
    """A sound table, and the bytes of its tensors."""
    found: dict[str, Any] = {"__metadata__": chance.choice(_METADATA)} if chance.one_in(6) else {}
    position = 0
    for key in keys:
        tag = chance.choice(tuple(_NEWER if chance.one_in(6) else _WIDTHS))
        shape = [chance.choice((0, 1, 1, 2, 3)) for _ in range(chance.below(4))]
        nbytes = (_NEWER | _WIDTHS)[tag]
        for size in shape:
            nbytes *= size
        found[key] = {"dtype": tag, "shape": shape, "data_offsets": [position, position + nbytes]}
        position += nbytes
    return found, position


def _file(chance: Chance, keys: list[str], *, is_sound: bool) -> bytes:
    table, nbytes = _table(chance, keys)
    for _ in range(0 if is_sound else chance.few()):
        table = changed(chance, table)
    text = text_of(chance, table)
    if chance.one_in(3):
        text += b" " * (-len(text) % _LENGTH_BYTES)
    length = len(text)
    if not is_sound and chance.one_in(10):
        length = chance.field_near(length, _LENGTH_BYTES)
        nbytes = max(nbytes + chance.choice((-1, 1, 8)), 0)
    return length.to_bytes(_LENGTH_BYTES, "little") + text + chance.randbytes(nbytes)


def safetensors_file(chance: Chance) -> Mapping[str, bytes]:
    """A file of the grammar or a real one; most are changed."""
    if chance.one_in(6):
        files = safetensors_files()
        return {"x.safetensors": chance.edited(chance.choice(files), chance.choice(files))}
    keys = chance.sample(_KEYS, chance.below(4))
    data = _file(chance, keys, is_sound=chance.one_in(3))
    return {"x.safetensors": chance.edited(data, chance.choice(safetensors_files())) if chance.one_in(8) else data}


def indexed_folder(chance: Chance) -> Mapping[str, bytes]:
    """An index and its shards; in most the index lies, in some a shard does, or lacks, or is of another kind."""
    keys = chance.sample(_KEYS, chance.below(5) + 1)
    names = [f"model-{number + 1:05}-of-{3:05}.safetensors" for number in range(3)]
    homes = {key: chance.choice(names) for key in keys}
    held = {name: [key for key in keys if homes[key] == name] for name in names}
    files = {name: _file(chance, mine, is_sound=not chance.one_in(8)) for name, mine in held.items() if mine}
    if files and chance.one_in(8):
        name = chance.choice(list(files))
        files[name] = files[chance.choice(list(files))] if chance.one_in(2) else b"{}"
    if files and chance.one_in(12):
        del files[chance.choice(list(files))]
    index: Any = {"metadata": {"total_size": 4 * len(keys), **(chance.choice(_METADATA) if chance.one_in(3) else {})}, "weight_map": homes}
    for _ in range(chance.few() if chance.one_in(2) else 0):
        index = changed(chance, index)
    text = text_of(chance, index)
    return {_INDEX: chance.edited(text) if chance.one_in(10) else text, **files}
