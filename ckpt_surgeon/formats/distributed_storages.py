"""The storages of a distributed checkpoint: of each tensor one, laid together from its chunks, and those of the values' archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Protocol

from ckpt_surgeon.disk import FileRange, pieces
from ckpt_surgeon.formats.torch_archive import ZipStorages
from ckpt_surgeon.formats.torch_bytes import load_tensor, span_of
from ckpt_surgeon.formats.torch_tensors import StoredTensor, contiguous_strides
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import TensorSpec

__all__ = ["DistributedStorages", "Patch", "Patchwork", "Storage", "ValueStorage"]


class Storage(Protocol):
    """One storage: `nbytes` bytes, little-endian."""

    @property
    def nbytes(self) -> int: ...
    def span(self, offset: int, nbytes: int) -> FileRange | None: ...
    def read(self, offset: int, nbytes: int) -> bytearray: ...


@dataclass(frozen=True, slots=True)
class Patch:
    """A chunk of a tensor, which starts at `offsets`, and the tensor of an archive which fills it."""

    offsets: tuple[int, ...]
    stored: StoredTensor
    storages: ZipStorages

    def data(self) -> memoryview:
        """Its elements, contiguous, in order, little-endian: u8[nbytes]."""
        span = span_of(self.stored, self.storages)
        if span is not None:
            return memoryview(b"".join(pieces(span)))
        import torch

        flat = load_tensor(self.stored, self.storages).reshape(-1)
        return memoryview(flat.view(torch.uint8).numpy().data)


@dataclass(frozen=True, slots=True)
class Patchwork:
    """A contiguous tensor which its patches tile."""

    spec: TensorSpec
    patches: Sequence[Patch]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.spec.nbytes

    def span(self, offset: int, nbytes: int) -> FileRange | None:
        """Where a part of the bytes lies when all lie in one place as they are; else None."""
        only = self.patches[0] if len(self.patches) == 1 else None
        whole = None if only is None else span_of(only.stored, only.storages)
        return None if whole is None else whole.part(offset, nbytes)

    def read(self, offset: int, nbytes: int) -> bytearray:
        """A part of the bytes, once all are laid together."""
        whole = bytearray(self.nbytes)
        for patch in self.patches:
            _lay(whole, self.spec, patch)
        return whole if nbytes == self.nbytes else whole[offset : offset + nbytes]


def _lay(whole: bytearray, spec: TensorSpec, patch: Patch) -> None:
    """Copy a patch to its place, in runs which reach up to the last dim in which it is narrower than the tensor."""
    sizes, size = patch.stored.spec.shape, spec.dtype.itemsize
    strides = [stride * size for stride in contiguous_strides(spec.shape)]
    cut = max((dim for dim, (part, full) in enumerate(zip(sizes, spec.shape, strict=True)) if part != full), default=0)
    run = prod(sizes[cut:]) * size
    start = sum(offset * stride for offset, stride in zip(patch.offsets, strides, strict=True))
    data = patch.data()
    for number, outer in enumerate(product(*map(range, sizes[:cut]))):
        at = start + sum(index * stride for index, stride in zip(outer, strides, strict=False))
        whole[at : at + run] = data[number * run : (number + 1) * run]


@dataclass(frozen=True, slots=True)
class ValueStorage:
    """A storage in the archive of a value."""

    storages: ZipStorages
    key: str

    @property
    def nbytes(self) -> int:
        """Bytes of the storage."""
        return self.storages.nbytes[self.key]

    def span(self, offset: int, nbytes: int) -> FileRange | None:
        """Where a part of it lies; None when it is compressed."""
        return self.storages.span(self.key, offset, nbytes)

    def read(self, offset: int, nbytes: int) -> bytearray:
        """A part of it."""
        return self.storages.read(self.key, offset, nbytes)


class DistributedStorages:
    """All of them by their names in the object graph."""

    is_little = True

    def __init__(self, storages: Mapping[str, Storage]) -> None:
        self._storages = storages
        self.nbytes: Mapping[str, int] = {key: storage.nbytes for key, storage in storages.items()}

    def span(self, key: str, offset: int, nbytes: int) -> FileRange | None:
        """Where a part of a storage lies, if all of it lies in one place as it is; else None."""
        return self._storages[key].span(offset, nbytes)

    def read(self, key: str, offset: int, nbytes: int) -> bytearray:
        """A part of a storage."""
        return self._storages[key].read(offset, nbytes)
