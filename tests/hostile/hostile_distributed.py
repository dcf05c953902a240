"""Distributed checkpoints from raw opcodes and records: `.metadata` and the archives which it places in `.distcp` files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hostile_files import called, listed, mapping, name, number, sequence, storage, tensor, text, whole, zipped

PACKAGE = "torch.distributed.checkpoint."
FILE = "__0_0.distcp"


def made(path: str, state: bytes) -> bytes:
    """An object with a state, as a dataclass is pickled."""
    return name(path) + b")\x81" + state + b"b"


def built(path: str, **fields: bytes | None) -> bytes:
    """An object with attributes; those which are None are left out."""
    return made(PACKAGE + path, mapping(*((text(key), value) for key, value in fields.items() if value is not None)))


def size(*sizes: int) -> bytes:
    return called("torch.Size", sequence(*map(number, sizes)))


def properties(dtype: bytes = name("torch.float32")) -> bytes:
    layout = called("torch.serialization._get_layout", text("torch.strided"))
    memory_format = called(PACKAGE + "metadata._MEM_FORMAT_ENCODING", number(0))
    return made(PACKAGE + "metadata.TensorProperties", sequence(dtype, layout, b"\x89", memory_format, b"\x89"))


def chunk(offsets: tuple[int, ...] = (0, 0), sizes: tuple[int, ...] = (2, 3)) -> bytes:
    return built("metadata.ChunkStorageMetadata", offsets=size(*offsets), sizes=size(*sizes))


def listing(*chunks: bytes, **fields: bytes | None) -> bytes:
    """A tensor of the metadata, f32[2, 3] in one chunk unless told otherwise."""
    given = {"properties": properties(), "size": size(2, 3), "chunks": listed(*(chunks or (chunk(),))), **fields}
    return built("metadata.TensorStorageMetadata", **given)


VALUE = made(PACKAGE + "metadata.BytesStorageMetadata", b"}")


def index(key: str = "a", offsets: tuple[int, ...] | None = (0, 0), **fields: bytes | None) -> bytes:
    given = {"fqn": text(key), "offset": b"N" if offsets is None else size(*offsets), "index": number(0), **fields}
    return built("metadata.MetadataIndex", **given)


def info(offset: int = 0, nbytes: int = 0, file: str = FILE, **fields: bytes | None) -> bytes:
    given = {"relative_path": text(file), "offset": number(offset), "length": number(nbytes), **fields}
    return built("filesystem._StorageInfo", **given)


def metadata(entries: Mapping[str, bytes], places: list[tuple[bytes, bytes]], **fields: bytes | None) -> bytes:
    """The body of a `.metadata`; `fields`: planner_data, and others in place of the true ones."""
    given = {
        "state_dict_metadata": mapping(*((text(key), entry) for key, entry in entries.items())),
        "planner_data": b"N",
        "storage_data": mapping(*places),
        **fields,
    }
    return built("metadata.Metadata", **given)


def floats(count: int = 6, start: int = 1) -> bytes:
    return struct.pack(f"<{count}f", *range(start, start + count))


def archived(*sizes: int, start: int = 1) -> bytes:
    """What `torch.save` writes of one tensor f32[sizes], counting up from `start`."""
    count = 1
    for each in sizes:
        count *= each
    strides = [number(1)]
    for each in reversed(sizes[1:]):
        strides.insert(0, number(each))
    body = tensor(storage(numel=number(count)), size=sequence(*map(number, sizes)), stride=sequence(*strides[: len(sizes)]))
    return zipped(body, {"0": floats(count, start)})


TENSOR = archived(2, 3)
NUMBER = zipped(number(7), {"none": b""})


def folder(path: Path, body: bytes, files: Mapping[str, bytes] | None = None) -> Path:
    """The folder of a checkpoint; by default its one file is TENSOR."""
    path.mkdir(exist_ok=True)
    (path / ".metadata").write_bytes(whole(body))
    for file, data in ({FILE: TENSOR} if files is None else files).items():
        (path / file).write_bytes(data)
    return path


def single(**changes: Any) -> bytes:
    """The metadata of one tensor `a` in one file; `changes`: `entry`, `index`, `info`, and fields of the metadata."""
    entry = changes.pop("entry", listing())
    place = (changes.pop("index", index()), changes.pop("info", info(nbytes=len(TENSOR))))
    return metadata({"a": entry}, [place], **changes)
