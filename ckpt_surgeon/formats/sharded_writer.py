"""ShardedWriter: a folder of safetensors shards and their index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ckpt_surgeon import disk
from ckpt_surgeon.formats.carried import carried_metadata
from ckpt_surgeon.formats.index_file import index_bytes
from ckpt_surgeon.formats.protocol import Part
from ckpt_surgeon.formats.safetensors_writer import NOWHERE, SafetensorsWriter, check_writable
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.shards import cut_header
from ckpt_surgeon.spec import Header

__all__ = ["INDEX_NAME", "ShardedWriter"]

INDEX_NAME = "model.safetensors.index.json"


class ShardedWriter:
    """A folder in the making: `model-00001-of-00003.safetensors` ... and the index, which carries ties and `_metadata`.

    The shards themselves bear no metadata but `format`, so that each is read by whatever reads safetensors.
    """

    def __init__(self, path: str, header: Header, max_shard_size: int, offsets: Mapping[str, int] = NOWHERE) -> None:
        """Make the folder `path`, which must not exist; shards follow one by one.

        max_shard_size: bytes of tensors in a shard; a larger tensor stands alone. offsets: see SafetensorsWriter.
        Raises SurgeryError naming every entry which safetensors cannot hold, before anything is made; DiskError.
        """
        check_writable(header)
        parts = cut_header(header, max_shard_size)
        metadata = {"total_size": parts.total_size, **carried_metadata(header)}
        self._index = index_bytes(parts.weight_map, metadata)
        self.nbytes = parts.total_size + len(self._index)
        self._path = path
        self._offsets = offsets
        self._homes = parts.weight_map
        self._waiting = list(reversed(parts.shards))
        self._name = ""
        self._open: SafetensorsWriter | None = None
        self._make_folder()

    def write(self, key: str, parts: Iterable[Part]) -> None:
        """The bytes of the next tensor in header order; ValueError for another key or another number of bytes."""
        while self._open is None or self._homes.get(key) != self._name:
            self._next_shard(key)
        self._open.write(key, parts)

    def close(self) -> None:
        """Finish the last shard, write the index, and bring all names to the disk; ValueError when a tensor is due."""
        while self._waiting:
            self._next_shard("")
        assert self._open is not None  # a cut has at least one shard
        self._open.close()
        with OutputFile(os.path.join(self._path, INDEX_NAME)) as file:
            file.write(self._index)
            file.sync()
        disk.sync_folder(self._path)

    def abort(self) -> None:
        """Close the open shard without finishing it."""
        if self._open is not None:
            self._open.abort()

    def _make_folder(self) -> None:
        try:
            disk.system.mkdir(self._path)
        except OSError as error:
            raise disk.disk_error(error, self._path) from error
        disk.require_space(self._path, self.nbytes)

    def _next_shard(self, key: str) -> None:
        if self._open is not None:
            self._open.close()
        if not self._waiting:
            raise ValueError(f"{key!r} was written where nothing more is due")
        shard = self._waiting.pop()
        self._name = shard.name
        self._open = SafetensorsWriter(os.path.join(self._path, shard.name), shard.header, self._offsets)
