"""DistributedReader: a checkpoint of torch.distributed.checkpoint, `.metadata` and the `.distcp` files beside it, read without torch.

torch's own reader unpickles `.metadata` freely, and runs what it says; here it goes through the same machine as every other pickle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, SurgeryError, UnsafeError
from ckpt_surgeon.formats.distributed_graph import nested
from ckpt_surgeon.formats.distributed_metadata import Chunk, DistributedTensor, Place, Plot, plot_of
from ckpt_surgeon.formats.distributed_storages import DistributedStorages, Patch, Patchwork, Storage, ValueStorage
from ckpt_surgeon.formats.pickle_nodes import Node, Persistent
from ckpt_surgeon.formats.pickle_reader import MAX_PICKLE_BYTES, read_pickle
from ckpt_surgeon.formats.pickle_words import words
from ckpt_surgeon.formats.shard_files import ShardFiles, is_plain_name
from ckpt_surgeon.formats.torch_archive import ZipStorages, unpack_archive
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint, Unpacked
from ckpt_surgeon.formats.torch_nodes import new_storage, new_tensor
from ckpt_surgeon.formats.torch_tensors import TensorNode, tensor_of
from ckpt_surgeon.spec import DType, TensorSpec

__all__ = ["DistributedReader"]


class DistributedReader(TorchCheckpoint):
    """A Reader of a distributed checkpoint, from its `.metadata`. `table`: the dotted path of the table which is meant."""

    def __init__(self, file: InputFile, table: str | None = None) -> None:
        self._files = ExitStack()
        super().__init__(file, self._unpack, "distributed", table)

    def close(self) -> None:
        """Close all files; a second call does nothing."""
        self._files.close()
        super().close()

    def _unpack(self, file: InputFile) -> Unpacked:
        if file.nbytes > MAX_PICKLE_BYTES:
            raise LimitError(f"the metadata has {file.nbytes:,} bytes: {MAX_PICKLE_BYTES:,} are allowed")
        root, end = read_pickle(file.read(0, file.nbytes))
        if end != file.nbytes:
            raise CorruptError(f"the metadata goes on for {file.nbytes - end} bytes after its end")
        plot = plot_of(root)
        names = dict.fromkeys(place.file for _, place in _places(plot))
        beside = ShardFiles(file.path)
        files = {name: self._files.enter_context(_opened(beside, name)) for name in names}
        _require_room(plot, files)
        assembly = _Assembly(files)
        leaves = {key: assembly.leaf(key, entry) for key, entry in plot.entries.items()}
        return nested(plot.paths, leaves), DistributedStorages(assembly.storages)


def _opened(beside: ShardFiles, name: str) -> InputFile:
    if not is_plain_name(name):
        raise CorruptError(f"the metadata says that bytes lie in {name!r}, which is no plain file name")
    return beside.open(name)


def _places(plot: Plot) -> Iterator[tuple[str, Place]]:
    for key, entry in plot.entries.items():
        for part in entry.chunks if isinstance(entry, DistributedTensor) else (entry,):
            yield key, part.place if isinstance(part, Chunk) else part


def _require_room(plot: Plot, files: Mapping[str, InputFile]) -> None:
    """CorruptError unless all places lie in their files and none overlaps another."""
    free = dict.fromkeys(files, 0)
    for key, place in sorted(_places(plot), key=lambda item: item[1].offset):
        if place.offset + place.nbytes > files[place.file].nbytes:
            raise CorruptError(f"{key!r} is said to lie past the end of {place.file}: the file is cut, or of another checkpoint")
        if place.offset < free[place.file]:
            raise CorruptError(f"{key!r} is said to lie among other bytes of {place.file}")
        free[place.file] = place.offset + place.nbytes


class _Assembly:
    """Leaves of the object graph, as torch would have pickled them, and the storages on which they lie."""

    def __init__(self, files: Mapping[str, InputFile]) -> None:
        self.storages: dict[str, Storage] = {}
        self._files = files
        self._count = 0

    def leaf(self, key: str, entry: DistributedTensor | Place) -> Node:
        """The node of an entry; its archives are looked into, their weights are not read."""
        self._count += 1
        if isinstance(entry, DistributedTensor):
            return self._tensor(key, entry)
        return self._value(key, entry)

    def _tensor(self, key: str, tensor: DistributedTensor) -> Node:
        name = str(self._count)
        self.storages[name] = Patchwork(tensor.spec, [self._patch(key, chunk, tensor.spec.dtype) for chunk in tensor.chunks])
        return new_tensor(tensor.spec, new_storage(tensor.spec, name))

    def _patch(self, key: str, chunk: Chunk, dtype: DType) -> Patch:
        root, _, storages = self._unpacked(key, chunk.place)
        entry, promised = tensor_of(root, storages.nbytes), TensorSpec(chunk.sizes, dtype)
        if not isinstance(entry, TensorNode) or entry.stored.spec != promised:
            found = entry.stored.spec if isinstance(entry, TensorNode) else entry or words(root)
            raise CorruptError(f"the chunk of {key!r} at {list(chunk.offsets)} should be {promised}, and is {found}")
        return Patch(chunk.offsets, entry.stored, storages)

    def _value(self, key: str, place: Place) -> Node:
        root, persistents, storages = self._unpacked(key, place)
        if persistents and not storages.is_little:
            raise UnsafeError(f"{key!r} comes from a big-endian machine, and only its own class could put its bytes in order")
        for node in persistents:
            kind, owner, inner, *rest = node.pid
            name = f"{self._count}/{inner}"
            self.storages[name] = ValueStorage(storages, str(inner))
            node.pid = (kind, owner, name, *rest)
        return root

    def _unpacked(self, key: str, place: Place) -> tuple[Node, list[Persistent], ZipStorages]:
        file = self._files[place.file]
        try:
            return unpack_archive(file.whole.part(place.offset, place.nbytes))
        except SurgeryError as error:
            raise error.located(f"{file.path}: {key}") from error
