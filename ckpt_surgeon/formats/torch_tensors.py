"""Nodes -> tensor descriptors: which part of which storage a tensor is, with every number checked. Nothing is rebuilt.

Source: torch/_utils.py and torch/_tensor.py (`Tensor.__reduce_ex__` and the `_rebuild_*` functions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Final, NamedTuple

from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.pickle_names import LAYOUT, PLAIN_TENSORS, QUANTIZED_STORAGES, SIZE, TENSORS, called_by, meant_by
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Global, Node, lookup
from ckpt_surgeon.formats.pickle_words import class_of, words
from ckpt_surgeon.formats.torch_storage import MAX_NBYTES, StorageId, dtype_named, is_storage, require_storage, storage_id
from ckpt_surgeon.spec import Opaque, TensorSpec

__all__ = ["Entry", "StoredTensor", "TensorNode", "sizes_of", "tensor_of"]

# torch itself stops at 64 dims.
_MAX_DIMS: Final = 64
# A Parameter around a tensor with attributes around a tensor takes three.
_MAX_LEVELS: Final = 5


class StoredTensor(NamedTuple):
    """A plain tensor: `spec`, in storage `key`, whose part for it starts at byte `base` and has `room` bytes.

    offset, strides: in elements. is_conjugated, is_negated: its values are those of the bytes, conjugated or negated.
    A named tuple, as there may be very many: a frozen dataclass takes several times as long to make.
    """

    key: str
    base: int
    room: int
    spec: TensorSpec
    offset: int
    strides: tuple[int, ...]
    is_conjugated: bool = False
    is_negated: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether its values are the bytes, contiguous, in order."""
        return not (self.is_conjugated or self.is_negated) and _is_contiguous(self.spec.shape, self.strides)

    @property
    def start(self) -> int:
        """The byte of the storage at which it starts."""
        return self.base + self.offset * self.spec.dtype.itemsize

    @property
    def extent(self) -> int:
        """Bytes of the storage from its first to past its last element."""
        if not self.spec.numel:
            return 0
        return _reach(self.spec.shape, self.strides) * self.spec.dtype.itemsize

    @property
    def part(self) -> tuple[str, int, int]:
        """The part of the storage which it is given: key, first byte, bytes."""
        return self.key, self.base, self.room

    @property
    def fills_part(self) -> bool:
        """Whether it is the whole of that part, contiguous from its first byte on."""
        return self.is_plain and self.offset == 0 and self.spec.nbytes == self.room


class TensorNode(NamedTuple):
    """Where a tensor stands in the graph: its own call, and the call of the Parameter around it, if any."""

    stored: StoredTensor
    node: Call
    parameter: Call | None = None


Entry = TensorNode | Opaque
_Rebuild = Callable[[Call, Mapping[str, int], int], Entry]


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements of the storage from the first to past the last one of a tensor which is not empty."""
    reach = 1
    for size, stride in zip(shape, strides, strict=True):
        reach += (size - 1) * stride
    return reach


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether these strides, in elements, are those of a contiguous tensor where they matter: not of a size 1, or without elements."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return 0 in shape
        step *= size
    return True


def tensor_of(node: Node, storage_nbytes: Mapping[str, int], levels: int = _MAX_LEVELS) -> Entry | None:
    """The tensor which `node` would become; Opaque for one which is not plain; None for what is no tensor.

    storage_nbytes: the bytes which each storage really has. Raises CorruptError for numbers which do not fit.
    """
    if type(node) is not Call or type(node.function) is not Global or node.kind != "reduce":
        return None
    kind = TENSORS.get(meant_by(node.function))
    if kind is None:
        return None
    if node.state is not ABSENT or node.items or node.pairs:
        return Opaque("tensor with a state of its own")
    if not levels:
        raise LimitError(f"a tensor wrapped more than {_MAX_LEVELS} times")
    rebuild = _REBUILDERS.get(kind)
    return rebuild(node, storage_nbytes, levels - 1) if rebuild else Opaque(kind)


def _strided(node: Call, storage_nbytes: Mapping[str, int], _levels: int) -> Entry:
    """`_rebuild_tensor(storage, offset, size, stride)`, `_v2(..., requires_grad, hooks[, metadata])`, `_v3(..., dtype[, metadata])`."""
    count, metadata_at, dtype_at = _LAYOUTS[node.function.name]
    arguments = node.arguments
    if len(arguments) not in (count, count + (metadata_at is not None)):
        raise CorruptError(f"{node.function.name} with {len(arguments)} arguments, which torch does not write")
    if not is_storage(arguments[0]):
        raise CorruptError(f"a tensor on {words(arguments[0])}, which is no storage")
    storage = storage_id(arguments[0])
    dtype = storage.dtype if dtype_at is None else dtype_named(arguments[dtype_at])
    if dtype is None:
        return Opaque(f"tensor of the unknown dtype {class_name(arguments[dtype_at] if dtype_at else arguments[0].pid[1])}")
    shape, strides = sizes_of(arguments[2], "size"), sizes_of(arguments[3], "stride")
    metadata = arguments[metadata_at] if metadata_at is not None and len(arguments) > metadata_at else None
    flags = _flags(metadata)
    if flags is None:
        return Opaque("tensor with unknown metadata")
    if flags[0] and not dtype.is_complex:
        raise CorruptError(f"a conjugated tensor of the dtype {dtype}, which has no imaginary part")
    base, room = _part(storage, storage_nbytes)
    stored = StoredTensor(storage.key, base, room, TensorSpec(shape, dtype), _offset(arguments[1]), strides, *flags)
    return TensorNode(_checked(stored), node)


# arguments without metadata, where the metadata stands, where the dtype stands
_LAYOUTS: Final[Mapping[str, tuple[int, int | None, int | None]]] = MappingProxyType(
    {"_rebuild_tensor": (4, None, None), "_rebuild_tensor_v2": (6, 6, None), "_rebuild_tensor_v3": (7, 7, 6)}
)


def _part(storage: StorageId, storage_nbytes: Mapping[str, int]) -> tuple[int, int]:
    """First byte and bytes of the storage's part; its real size has to be the one which the pickle claims."""
    require_storage(storage, storage_nbytes)
    if storage.view is None:
        return 0, storage_nbytes[storage.key]
    _, offset, numel = storage.view
    return offset * storage.itemsize, numel * storage.itemsize


def sizes_of(node: Node, what: str) -> tuple[int, ...]:
    """A torch.Size, tuple or list of up to 64 sizes; CorruptError, which names `what` it is of a tensor, for anything else."""
    if called_by(node) == SIZE and len(node.arguments) == 1:
        node = node.arguments[0]
    if not isinstance(node, tuple | list):
        raise CorruptError(f"a tensor whose {what} is no tuple: {words(node)}")
    for size in node:
        if type(size) is not int or not 0 <= size <= MAX_NBYTES:
            raise CorruptError(f"a tensor whose {what} is not up to {_MAX_DIMS} sizes of at least 0: {words(size)}")
    if len(node) > _MAX_DIMS:
        raise CorruptError(f"a tensor whose {what} is not up to {_MAX_DIMS} sizes of at least 0: {len(node)}")
    return tuple(node)


def _offset(node: Node) -> int:
    if type(node) is not int or not 0 <= node <= MAX_NBYTES:
        raise CorruptError(f"a tensor whose offset is no number of at least 0: {words(node)}")
    return node


_FLAGS: Final = ("conj", "neg")


def _flags(metadata: Node) -> tuple[bool, bool] | None:
    """(conj, neg); None for metadata with anything else."""
    if metadata is None:
        return False, False
    if type(metadata) is not Dict or len(metadata.pairs) > len(_FLAGS):
        return None
    if any(key not in _FLAGS or type(value) is not bool for key, value in metadata.pairs):
        return None
    return lookup(metadata.pairs, "conj") is True, lookup(metadata.pairs, "neg") is True


def _checked(stored: StoredTensor) -> StoredTensor:
    spec = stored.spec
    if len(stored.strides) != len(spec.shape):
        raise CorruptError(f"a tensor {spec} with {len(stored.strides)} strides")
    if prod(filter(None, spec.shape)) * spec.dtype.itemsize > MAX_NBYTES:
        raise CorruptError(f"a tensor {spec}, larger than any memory")
    # A row of an empty tensor starts past its storage's end; torch writes and reads that.
    extent = stored.extent
    if extent and stored.offset * spec.dtype.itemsize + extent > stored.room:
        raise CorruptError(f"a tensor {spec} which reaches past the {stored.room} bytes of its storage {stored.key!r}")
    return stored


def _parameter(node: Call, storage_nbytes: Mapping[str, int], levels: int) -> Entry:
    """`_rebuild_parameter(data, requires_grad, hooks)`, `_with_state(..., state)`."""
    if len(node.arguments) not in (3, 4):
        raise CorruptError(f"a parameter with {len(node.arguments)} arguments, which torch does not write")
    inner = tensor_of(node.arguments[0], storage_nbytes, levels)
    if inner is None:
        return Opaque(f"parameter of {class_of(node.arguments[0])}")
    return TensorNode(inner.stored, inner.node, node) if isinstance(inner, TensorNode) else inner


def _from_type(node: Call, storage_nbytes: Mapping[str, int], levels: int) -> Entry:
    """`_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes, or of a subclass."""
    if len(node.arguments) != 4 or type(node.arguments[2]) is not tuple:
        raise CorruptError("a tensor of a subclass in a form which torch does not write")
    function, kind, arguments, _ = node.arguments
    if meant_by(kind) not in PLAIN_TENSORS:
        return Opaque(f"tensor subclass {class_name(kind)}")
    inner = tensor_of(Call(function, arguments), storage_nbytes, levels)
    if isinstance(inner, TensorNode) and kind.name == "Parameter":
        return TensorNode(inner.stored, inner.node, node)
    return inner or Opaque(f"tensor by {class_name(function)}")


def class_name(node: Node) -> str:
    """The path of a global, or `?`."""
    return node.path if type(node) is Global else "?"


def _spec_words(dtype: Node, size: Node) -> str:
    found = dtype_named(dtype)
    return str(TensorSpec(sizes_of(size, "size"), found)) if found else f"{class_name(dtype)}{list(sizes_of(size, 'size'))}"


def _meta(node: Call, _storages: Mapping[str, int], _levels: int) -> Entry:
    if len(node.arguments) != 4:
        raise CorruptError("a meta tensor in a form which torch does not write")
    return Opaque(f"meta tensor {_spec_words(*node.arguments[:2])} without data")


def _sparse(node: Call, storage_nbytes: Mapping[str, int], levels: int) -> Entry:
    """`_rebuild_sparse_tensor(layout, (indices, values, size[, is_coalesced]))`, compressed: `(..., values, size)`."""
    layout, data = node.arguments if len(node.arguments) == 2 else (None, None)
    name = _layout_name(layout)
    if name is None or type(data) is not tuple or len(data) not in (3, 4):
        raise CorruptError(f"a sparse tensor in a form which torch does not write: its layout is {words(layout)}")
    parts = [tensor_of(part, storage_nbytes, levels) for part in data]
    values = [part for part in parts if isinstance(part, TensorNode)]
    sizes = [part for part in data if type(part) is tuple or called_by(part) == SIZE]
    if len(values) < 2 or len(sizes) != 1:
        raise CorruptError("a sparse tensor without indices, values and size")
    return Opaque(f"{name} tensor {TensorSpec(sizes_of(sizes[0], 'size'), values[-1].stored.spec.dtype)}")


def _layout_name(node: Node) -> str | None:
    """`sparse_coo`; None for what is no layout."""
    if called_by(node) != LAYOUT or len(node.arguments) != 1 or not isinstance(node.arguments[0], str):
        return None
    name = str(node.arguments[0]).removeprefix("torch.")
    return name if name in _LAYOUTS_OF_TORCH else None


_LAYOUTS_OF_TORCH: Final = frozenset({"sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"})


def _quantized(node: Call, storage_nbytes: Mapping[str, int], _levels: int) -> Entry:
    """`_rebuild_qtensor(storage, offset, size, stride, quantizer, requires_grad, hooks)`."""
    if len(node.arguments) != 7 or not is_storage(node.arguments[0]):
        raise CorruptError("a quantized tensor in a form which torch does not write")
    storage, shape, strides = storage_id(node.arguments[0]), sizes_of(node.arguments[2], "size"), sizes_of(node.arguments[3], "stride")
    owner = node.arguments[0].pid[1]
    packed = QUANTIZED_STORAGES.get(meant_by(owner))
    if packed is None or len(shape) != len(strides):
        raise CorruptError(f"a quantized tensor of {len(shape)} sizes and {len(strides)} strides on a {owner.path}")
    itemsize, per_item = packed
    _, room = _part(storage, storage_nbytes)
    end = _offset(node.arguments[1]) + _reach(shape, strides)
    if 0 not in shape and -(-end // per_item) * itemsize > room:
        raise CorruptError(f"a quantized tensor {list(shape)} which reaches past the {room} bytes of its storage {storage.key!r}")
    return Opaque(f"quantized tensor {owner.name.removesuffix('Storage').lower()}{list(shape)}")


_REBUILDERS: Final[Mapping[str, _Rebuild]] = MappingProxyType(
    {
        "strided": _strided,
        "parameter": _parameter,
        "typed": _from_type,
        "meta": _meta,
        "sparse": _sparse,
        "quantized": _quantized,
    }
)
