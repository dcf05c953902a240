"""What a torch pickle says of its storages: the persistent ids, and the element types by their names in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.pickle_names import QUANTIZED_STORAGES, TYPED_STORAGES, UNTYPED_STORAGES, meant_by
from ckpt_surgeon.formats.pickle_nodes import Global, Node, Persistent
from ckpt_surgeon.formats.pickle_words import words
from ckpt_surgeon.spec import DTYPES, DType

__all__ = ["MAX_NBYTES", "StorageId", "dtype_named", "is_storage", "require_storage", "require_storages", "storage_class", "storage_id"]

# What fits into a signed 64-bit number, as sizes in torch have to.
MAX_NBYTES: Final = 2**63 - 1
# The older layout's ids have a sixth part, the view.
_LONGEST_ID: Final = 6


class StorageId(NamedTuple):
    """A storage as its persistent id names it: `numel` elements of `itemsize` bytes.

    dtype: None for an untyped or a quantized storage. view: the older format's (key, offset, numel) in elements, which
    makes this a part of the storage `key`.
    """

    key: str
    dtype: DType | None
    itemsize: int
    numel: int
    view: tuple[str, int, int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the whole storage."""
        return self.numel * self.itemsize


def is_storage(node: Node) -> bool:
    """Whether `node` is a persistent id of a storage (and not the older format's `module`)."""
    return type(node) is Persistent and type(node.pid) is tuple and bool(node.pid) and node.pid[0] == "storage"


def storage_id(node: Node) -> StorageId:
    """What the persistent id says. Raises CorruptError for anything but torch's own form."""
    pid: tuple[Node, ...] = node.pid if is_storage(node) else ()
    if len(pid) not in (5, 6) or not _is_typed(*pid[1:5]):
        raise CorruptError(f"a persistent id which is not torch's ('storage', class, key, location, numel): {_pid_words(node)}")
    _, owner, key, _, numel = pid[:5]
    dtype, itemsize = _element(owner)
    if numel * itemsize > MAX_NBYTES:
        raise CorruptError(f"storage {key!r} has {words(numel)} elements, more than any memory")
    view = pid[5] if len(pid) > 5 else None
    if view is not None and not _is_view(view, numel):
        raise CorruptError(f"storage {key!r} has a view which is no part of it")
    return StorageId(str(key), dtype, itemsize, numel, view)


def _pid_words(node: Node) -> str:
    if type(node) is not Persistent or type(node.pid) is not tuple:
        return words(node.pid if type(node) is Persistent else node)
    return f"({', '.join(words(part) for part in node.pid[:_LONGEST_ID])})"


def require_storages(persistents: Iterable[Persistent], storages: Mapping[str, int], parts: int) -> None:
    """CorruptError when a persistent id has not `parts` parts, or its storage is not there in the size (bytes) which it claims."""
    for node in persistents:
        found = storage_id(node)
        if len(node.pid) != parts:
            raise CorruptError(f"a persistent id of {len(node.pid)} parts, where torch's have {parts} in this layout")
        require_storage(found, storages)


def require_storage(found: StorageId, storages: Mapping[str, int]) -> None:
    """CorruptError when the storage is not there, or not in the size (bytes) which is claimed."""
    if found.key not in storages:
        raise CorruptError(f"storage {found.key!r} is not in the file")
    # The bytes of a storage need not be a multiple of the element size; its claimed elements are those which fit.
    if storages[found.key] // found.itemsize * found.itemsize != found.nbytes:
        raise CorruptError(f"storage {found.key!r} has {storages[found.key]} bytes, and the pickle claims {found.nbytes}")


def _is_typed(owner: Node, key: Node, location: Node, numel: Node) -> bool:
    return type(owner) is Global and isinstance(key, str) and isinstance(location, str) and type(numel) is int and numel >= 0


def _is_view(view: Node, numel: int) -> bool:
    if type(view) is not tuple or len(view) != 3:
        return False
    key, offset, length = view
    return isinstance(key, str) and type(offset) is int and type(length) is int and 0 <= offset <= offset + length <= numel


def _element(owner: Global) -> tuple[DType | None, int]:
    meant = meant_by(owner)
    if meant in TYPED_STORAGES:
        dtype = DTYPES[TYPED_STORAGES[meant]]
        return dtype, dtype.itemsize
    if meant in QUANTIZED_STORAGES or meant in UNTYPED_STORAGES:
        return None, QUANTIZED_STORAGES.get(meant, (1, 1))[0]
    raise CorruptError(f"a storage of the unknown class {owner.path}")


def dtype_named(node: Node) -> DType | None:
    """The DType of a global such as `torch.float8_e4m3fn`; None for anything else."""
    return DTYPES.get(node.name) if type(node) is Global and node.module == "torch" else None


def storage_class(dtype: DType) -> Global | None:
    """The class of a typed storage; None for the newer dtypes, which lie in untyped ones."""
    return _CLASS_NODES.get(dtype.name)


# One node for each, so that a pickle names a class once.
_CLASS_NODES: Final[Mapping[str, Global]] = MappingProxyType(
    {dtype: Global("torch", path.removeprefix("torch.")) for path, dtype in TYPED_STORAGES.items()}
)
