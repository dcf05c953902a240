"""TorchLegacyReader: the single-stream layout of `torch.save` before 1.6, read without torch.

Five pickles (magic number, protocol, system, the object, the storages' keys), then for each key, in that order, the number of
elements as an int64 and the elements, little-endian on every machine. Source: torch/serialization.py, `_legacy_load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.pickle_machine import CutError
from ckpt_surgeon.formats.pickle_nodes import Global, Node, Persistent
from ckpt_surgeon.formats.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint, Unpacked
from ckpt_surgeon.formats.torch_storage import require_storages, storage_id

__all__ = ["TorchLegacyReader"]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_COUNT_BYTES: Final = 8
# ('storage', class, key, location, numel, view)
_ID_PARTS: Final = 6
# The pickles stand before the weights, and nothing says where they end: read this much first, then ever more.
_FIRST_WINDOW_BYTES: Final = 4 * 1024 * 1024
_WINDOW_GROWTH: Final = 8


class TorchLegacyReader(TorchCheckpoint):
    """A Reader of torch's older layout. `table`: the dotted path of the table which is meant; None where there is only one."""

    def __init__(self, file: InputFile, table: str | None = None) -> None:
        super().__init__(file, _unpack, "torch-legacy", table)


def _unpack(file: InputFile) -> Unpacked:
    root, keys, persistents, end = _read_pickles(file)
    if type(keys) is not list or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise CorruptError("the list of storages is no list of different names")
    sizes = _item_sizes(persistents)
    ranges = _storage_ranges(file, end, [str(key) for key in keys], sizes)
    storages = _StreamStorages(ranges)
    require_storages((node for node in persistents if not _is_source_text(node)), storages.nbytes, _ID_PARTS)
    return root, storages


def _read_pickles(file: InputFile) -> tuple[Node, Node, list[Persistent], int]:
    """The object, the keys, all persistent ids, and the offset after them (bytes)."""
    window = _FIRST_WINDOW_BYTES
    while True:
        nbytes = min(window, file.nbytes, MAX_PICKLE_BYTES)
        try:
            return _parse_pickles(file.read(0, nbytes))
        except CutError as error:
            if nbytes < window or error.wanted > min(file.nbytes, MAX_PICKLE_BYTES):
                raise CorruptError(error.problems) from error
        window *= _WINDOW_GROWTH


def _parse_pickles(data: bytes) -> tuple[Node, Node, list[Persistent], int]:
    persistents: list[Persistent] = []
    magic, end = read_pickle(data, 0, persistents, is_window=True)
    if magic != _MAGIC:
        raise CorruptError("a pickle which does not start as torch's files do: no checkpoint of torch")
    protocol, end = read_pickle(data, end, persistents, is_window=True)
    if protocol != _PROTOCOL:
        raise CorruptError(f"torch's older layout has protocol {_PROTOCOL}, and this file another")
    _, end = read_pickle(data, end, persistents, is_window=True)
    root, end = read_pickle(data, end, persistents, is_window=True)
    keys, end = read_pickle(data, end, persistents, is_window=True)
    return root, keys, persistents, end


def _item_sizes(persistents: list[Persistent]) -> dict[str, int]:
    """Bytes of an element of each storage, from the first persistent id which names it."""
    found = [storage_id(node) for node in persistents if not _is_source_text(node)]
    return {storage.key: storage.itemsize for storage in reversed(found)}


def _is_source_text(node: Persistent) -> bool:
    """Whether it is the older layout's class with its source: ('module', class, file, text)."""
    pid = node.pid
    return type(pid) is tuple and len(pid) == 4 and pid[0] == "module" and type(pid[1]) is Global


def _storage_ranges(file: InputFile, offset: int, keys: list[str], sizes: Mapping[str, int]) -> dict[str, FileRange]:
    ranges = {}
    for key in keys:
        if key not in sizes:
            raise CorruptError(f"storage {key!r} is in the file, and no tensor names it")
        if offset + _COUNT_BYTES > file.nbytes:
            raise CorruptError(f"the file ends before storage {key!r}")
        numel = int.from_bytes(file.read(offset, _COUNT_BYTES), "little", signed=True)
        offset += _COUNT_BYTES
        nbytes = numel * sizes[key]
        if numel < 0 or offset + nbytes > file.nbytes:
            raise CorruptError(f"storage {key!r} of {numel} elements does not fit into the file")
        ranges[key] = FileRange(file, offset, nbytes)
        offset += nbytes
    if offset != file.nbytes:
        raise CorruptError(f"the file goes on for {file.nbytes - offset} bytes after its last storage")
    return ranges


class _StreamStorages:
    """The storages as ranges of the one stream."""

    is_little = True

    def __init__(self, ranges: Mapping[str, FileRange]) -> None:
        self._ranges = ranges
        self.nbytes: Mapping[str, int] = {key: found.nbytes for key, found in ranges.items()}

    def span(self, key: str, offset: int, nbytes: int) -> FileRange | None:
        """A part of the storage."""
        return self._ranges[key].part(offset, nbytes)

    def read(self, key: str, offset: int, nbytes: int) -> bytearray:
        """A part of the storage."""
        part = self._ranges[key].part(offset, nbytes)
        return part.file.read_buffer(part.offset, nbytes)
