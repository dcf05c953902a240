"""The bytes of a stored tensor: contiguous and little-endian, as a span of the file where they lie so, else gathered by torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import LimitError
from ckpt_surgeon.formats.torch_tensors import StoredTensor

if TYPE_CHECKING:
    import torch

__all__ = ["Storages", "load_tensor", "span_of", "swapped"]

# A tensor expanded with stride 0 may be far larger than its storage: honest ones repeat a row, a mask, a scale.
_FREE_EXPANSION_BYTES: Final = 256 * 1024 * 1024
_MAX_EXPANSION: Final = 1024


class Storages(Protocol):
    """Where the bytes of the storages lie. `nbytes`: of each storage by its name."""

    nbytes: Mapping[str, int]
    is_little: bool

    def span(self, key: str, offset: int, nbytes: int) -> FileRange | None:
        """`nbytes` bytes from byte `offset` of a storage in the file; None when they are compressed.

        All of it come with their checksum, where the layout has one; a part comes out of a whole which was found undamaged.
        """
        ...

    def read(self, key: str, offset: int, nbytes: int) -> bytearray:
        """`nbytes` bytes from byte `offset` of a storage, in a buffer of their own."""
        ...


def span_of(stored: StoredTensor, storages: Storages) -> FileRange | None:
    """Where the tensor's bytes lie, if they are plain, contiguous and little-endian; else None."""
    is_ordered = storages.is_little or _swapped_width(stored) == 1
    if not is_ordered or not stored.is_plain:
        return None
    return storages.span(stored.key, stored.start if stored.extent else 0, stored.spec.nbytes)


def load_tensor(stored: StoredTensor, storages: Storages) -> torch.Tensor:
    """The tensor on the CPU, contiguous, in memory of its own: at no time in memory twice, unless its values are not the bytes in order.

    Raises LimitError for one which stride 0 blows up far beyond its storage.
    """
    import torch

    spec = stored.spec
    dtype: torch.dtype = getattr(torch, spec.dtype.name)
    if not spec.numel:
        return torch.empty(spec.shape, dtype=dtype)
    if spec.nbytes > max(_FREE_EXPANSION_BYTES, _MAX_EXPANSION * stored.extent):
        raise LimitError(f"a tensor {spec} expanded from {stored.extent} bytes: up to {_MAX_EXPANSION} times that is read")
    tensor = _gathered(stored, storages).view(-1).view(dtype).view(spec.shape)
    if stored.is_conjugated:
        tensor = tensor.conj().resolve_conj()
    return torch.neg(tensor) if stored.is_negated else tensor


def _gathered(stored: StoredTensor, storages: Storages) -> torch.Tensor:
    """The elements in order, as bytes: torch has no copying kernels for some of its dtypes."""
    import torch

    raw = storages.read(stored.key, stored.start, stored.extent)
    data = raw if storages.is_little else swapped(raw, _swapped_width(stored))
    size = stored.spec.dtype.itemsize
    # The stride of a dim of size 1 is never used, and may be any number.
    strides = (*(stride * size if n > 1 else 0 for n, stride in zip(stored.spec.shape, stored.strides, strict=True)), 1)
    return torch.frombuffer(data, dtype=torch.uint8).as_strided((*stored.spec.shape, size), strides).contiguous()


def _swapped_width(stored: StoredTensor) -> int:
    """Bytes of the numbers whose order depends on the machine: a complex element is two of them."""
    dtype = stored.spec.dtype
    return dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize


def swapped(data: bytes | bytearray, width: int) -> bytearray:
    """The data with the bytes of each number of `width` bytes in opposite order."""
    result = bytearray(data)
    for index in range(width):
        result[index::width] = data[width - 1 - index :: width]
    return result
