"""What the `.metadata` of a distributed checkpoint says: which tensors and values there are, and in which files their bytes lie. Pure.

Source: torch/distributed/checkpoint/metadata.py and filesystem.py (`Metadata`, `_StorageInfo`), of all versions since 1.13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Final

from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats.distributed_tiling import require_tiling
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Node, Pair, lookup
from ckpt_surgeon.formats.pickle_words import class_of, words
from ckpt_surgeon.formats.torch_containers import key_text, pairs_of, state_pairs
from ckpt_surgeon.formats.torch_storage import MAX_NBYTES, dtype_named
from ckpt_surgeon.formats.torch_tensors import class_name, sizes_of
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import DType, TensorSpec

__all__ = ["Chunk", "DistributedTensor", "EntryPath", "Place", "Plot", "plot_of"]

# Each chunk is an archive of its own, which is looked into.
_MAX_CHUNKS: Final = 1_000_000
_PACKAGE: Final = "torch.distributed."

# Where an entry stood in the nested state_dict: keys of dicts, indices of lists.
EntryPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """`nbytes` bytes at `offset` of a file of the checkpoint's folder, by its plain name."""

    file: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The part of a tensor which starts at `offsets` and has the shape `sizes`; `place`: the archive with its bytes."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class DistributedTensor:
    """A tensor and the chunks which tile it; chunks without elements are left out."""

    spec: TensorSpec
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """The whole checkpoint. `entries`: key -> a tensor, or the archive of a value; `paths`: where each key stood, unflattened."""

    entries: Mapping[str, DistributedTensor | Place]
    paths: Mapping[str, EntryPath]


def plot_of(root: Node) -> Plot:
    """What a pickled `Metadata` says, with every number checked against every other.

    Raises CorruptError for whatever does not fit together, UnsafeError for bytes under transforms, LimitError past 1,000,000 chunks.
    """
    fields = _fields(root, "Metadata")
    places = _places(lookup(fields, "storage_data"))
    entries: dict[str, DistributedTensor | Place] = {}
    for key, node in _table(lookup(fields, "state_dict_metadata"), "state_dict_metadata"):
        if key in entries:
            raise CorruptError(f"the entry {key!r} stands in the metadata twice")
        entries[key] = _entry(key, node, places)
    if places:
        key, offsets = next(iter(places))
        raise CorruptError(f"the metadata says where {key!r} {list(offsets or ())} lies, and does not list it")
    return Plot(entries, _paths(lookup(fields, "planner_data"), entries))


# Where bytes lie

_Index = tuple[str, tuple[int, ...] | None]


def _places(node: Node) -> dict[_Index, Place]:
    """(key, offsets of the chunk; None for a value) -> where it lies. `storage_data` is a dict of MetadataIndex -> _StorageInfo."""
    pairs = pairs_of(node)
    if pairs is None:
        raise CorruptError("the metadata has no storage_data, which says where the bytes lie")
    if len(pairs) > _MAX_CHUNKS:
        raise LimitError(f"the checkpoint has {len(pairs):,} chunks: {_MAX_CHUNKS:,} are allowed")
    found: dict[_Index, Place] = {}
    for key, value in pairs:
        index = _index(key)
        if index in found:
            raise CorruptError(f"the metadata says twice where {index[0]!r} {list(index[1] or ())} lies")
        found[index] = _place(index[0], value)
    return found


def _index(node: Node) -> _Index:
    fields = _fields(node, "MetadataIndex")
    key, offset = lookup(fields, "fqn"), lookup(fields, "offset")
    if not isinstance(key, str):
        raise CorruptError(f"an index of the metadata names {words(key)}, which is no string")
    return str(key), None if offset is None or offset is ABSENT else sizes_of(offset, "offset")


def _place(key: str, node: Node) -> Place:
    fields = _fields(node, "_StorageInfo")
    file, offset, nbytes = (lookup(fields, name) for name in ("relative_path", "offset", "length"))
    if not isinstance(file, str) or not _is_size(offset) or not _is_size(nbytes):
        raise CorruptError(f"the metadata does not say in which bytes of which file {key!r} lies")
    transforms = lookup(fields, "transform_descriptors")
    if transforms is not ABSENT and transforms not in (None, [], ()):
        hint = "save it without extensions, or convert it with torch"
        raise UnsafeError(f"the bytes of {key!r} are transformed ({words(transforms)}), which only its writer undoes", hint=hint)
    return Place(str(file), offset, nbytes)


def _is_size(node: Node) -> bool:
    return type(node) is int and 0 <= node <= MAX_NBYTES


# What there is


def _entry(key: str, node: Node, places: dict[_Index, Place]) -> DistributedTensor | Place:
    """The entry of a key; its places are taken out of `places`."""
    if _is_class(node, "BytesStorageMetadata"):
        return _taken(places, key, None)
    fields = _fields(node, "TensorStorageMetadata")
    spec = TensorSpec(sizes_of(lookup(fields, "size"), "size"), _dtype(key, lookup(fields, "properties")))
    if prod(size for size in spec.shape if size) * spec.dtype.itemsize > MAX_NBYTES:
        raise CorruptError(f"the metadata lists {key!r} as {spec}, larger than any memory")
    boxes = _boxes(key, lookup(fields, "chunks"))
    # A chunk without elements is listed, and may have no bytes anywhere.
    chunks = tuple(Chunk(*box, _taken(places, key, box[0])) for box in boxes if prod(box[1]))
    for offsets, sizes in boxes:
        if not prod(sizes):
            places.pop((key, offsets), None)
    require_tiling(key, spec, [(chunk.offsets, chunk.sizes) for chunk in chunks])
    return DistributedTensor(spec, chunks)


def _taken(places: dict[_Index, Place], key: str, offsets: tuple[int, ...] | None) -> Place:
    place = places.pop((key, offsets), None)
    if place is None:
        raise CorruptError(f"the metadata lists {key!r} {list(offsets or ())}, and does not say where it lies")
    return place


def _boxes(key: str, node: Node) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    if type(node) is not list:
        raise CorruptError(f"the metadata lists {key!r} without chunks")
    if len(node) > _MAX_CHUNKS:
        raise LimitError(f"{key!r} has {len(node):,} chunks: {_MAX_CHUNKS:,} are allowed")
    chunks = [_fields(chunk, "ChunkStorageMetadata") for chunk in node]
    return [(sizes_of(lookup(chunk, "offsets"), "offsets"), sizes_of(lookup(chunk, "sizes"), "sizes")) for chunk in chunks]


def _dtype(key: str, node: Node) -> DType:
    """The dtype among the properties, which are a tuple that begins with it, or in old files attributes."""
    if not _is_class(node, "TensorProperties"):
        raise CorruptError(f"the metadata lists {key!r} without properties")
    state = node.state
    named = state[0] if type(state) is tuple and state else lookup(state_pairs(node), "dtype")
    dtype = dtype_named(named)
    if dtype is None:
        raise CorruptError(f"the metadata lists {key!r} with the unknown dtype {class_name(named)}")
    return dtype


# Objects and tables


def _is_class(node: Node, name: str) -> bool:
    path = class_of(node)
    return path.startswith(_PACKAGE) and path.rpartition(".")[2] == name


def _fields(node: Node, name: str) -> list[Pair]:
    """The attributes of an object of that class."""
    if not _is_class(node, name):
        raise CorruptError(f"the metadata holds {words(node)} where a {name} is due")
    return state_pairs(node)


def _table(node: Node, name: str) -> Iterator[tuple[str, Node]]:
    for key, value in pairs_of(node) or ():
        text = key_text(key)
        if text is None:
            raise CorruptError(f"{name} has the key {words(key)}, which is no string")
        yield text, value


def _paths(node: Node, entries: Mapping[str, object]) -> dict[str, EntryPath]:
    """The paths of torch's own planner; of any other one (its data are its own affair) each key is a path."""
    found = {text: path for key, path in pairs_of(node) or () if (text := key_text(key)) is not None and _is_path(path)}
    if not set(entries) <= set(found):
        return {key: (key,) for key in entries}
    return {key: tuple(part if type(part) is int else str(part) for part in found[key]) for key in entries}


def _is_path(node: Node) -> bool:
    parts = node if type(node) is tuple and node else (None,)
    return isinstance(parts[0], str) and all(isinstance(part, str) or (type(part) is int and part >= 0) for part in parts)
