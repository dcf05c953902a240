"""The object graph of a torch file to be written, as pickle bytes and the storages which it needs, in order. Pure.

The graph of a torch source is kept: its nodes are never changed, but another stands for one where the output differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from ckpt_surgeon.errors import Problem, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Letter, Node, Pair, Persistent
from ckpt_surgeon.formats.pickle_writer import write_pickle
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.formats.torch_checkpoint import Graph, TorchCheckpoint
from ckpt_surgeon.formats.torch_containers import pairs_of, state_pairs, with_pairs
from ckpt_surgeon.formats.torch_nodes import metadata_node, new_parameter, new_storage, new_tensor, ordered_dict
from ckpt_surgeon.formats.torch_optimizer import followed, states_in
from ckpt_surgeon.formats.torch_storage import StorageId, is_storage, storage_id
from ckpt_surgeon.formats.torch_table import Slot
from ckpt_surgeon.formats.torch_tensors import TensorNode
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Entry, Header, Opaque, TensorSpec

__all__ = ["Output", "StoragePart", "output_of", "pickle_in_place"]

_METADATA: Final = "_metadata"


class StoragePart(NamedTuple):
    """A part of a source's storage, in bytes; `width`: bytes of its numbers, 0 where the file does not tell."""

    key: str
    offset: int
    nbytes: int
    width: int


@dataclass(frozen=True, slots=True)
class Output:
    """The pickle, and for each storage, by its number, the key of the tensor which fills it or the part which is copied."""

    pickle: bytes
    storages: tuple[str | StoragePart, ...]


def output_of(header: Header, keep: Keep) -> Output:
    """What a file with these entries holds. Raises UnsafeError naming the opaque entries for which there is no source."""
    graph = keep.reader.graph if isinstance(keep.reader, TorchCheckpoint) else None
    table = _Table(header, keep, graph)
    if graph is None:
        return table.numbered(table.new_node())
    replacements = _without_optimizers(graph) if keep.drops_optimizer else table.followed_optimizers(graph)
    if not table.is_untouched(graph):
        replacements[id(graph.table.node)] = table.new_node()
    return table.numbered(graph.root, replacements)


def pickle_in_place(header: Header, keep: Keep, graph: Graph) -> bytes:
    """The pickle of a file which keeps its storages, under their own names: of each moved tensor the very node, views included."""
    table = _Table(header, keep, graph, keeps_storages=True)
    replacements = table.followed_optimizers(graph)
    if not table.is_untouched(graph):
        replacements[id(graph.table.node)] = table.new_node()
    return write_pickle(graph.root, lambda node: replacements.get(id(node), node))


class _Table:
    """The table of the output: for each key its node, and which storages its tensors fill."""

    def __init__(self, header: Header, keep: Keep, graph: Graph | None, *, keeps_storages: bool = False) -> None:
        self._header = header
        self._optimizers = keep.optimizers
        self._graph = graph
        self._keeps_storages = keeps_storages
        self._slots: Mapping[str, Slot] = graph.table.slots if graph else {}
        self._fresh: dict[int, str] = {}
        self._kept: dict[tuple[str, int, int], str] = {}
        lost = [key for key in header.opaque if keep.opaque.get(key) not in self._slots]
        if lost:
            raise UnsafeError(Problem(f"{header.entries[key]} can only be copied from a torch file", where=key) for key in lost)
        nodes = {key: self._node(key, entry, keep) for key, entry in header.entries.items() if key not in header.aliases}
        nodes |= {key: self._tied(key, first, nodes[first]) for key, first in header.aliases.items()}
        self._nodes: dict[str, Node] = {key: nodes[key] for key in header.entries}

    def _node(self, key: str, entry: Entry, keep: Keep) -> Node:
        if isinstance(entry, Opaque):
            return self._slots[keep.opaque[key]].node
        return self._tensor(key, entry, self._slots.get(keep.moved.get(key, "")))

    def _tied(self, key: str, first: str, node: Node) -> Node:
        """The node of a second name: on the same new storage, or the source's own where it has the same tie, or else the first name's."""
        spec, storage = self._header.entries[key], node.arguments[0]
        if id(storage) in self._fresh and isinstance(spec, TensorSpec):
            return new_tensor(spec, storage)
        aliases = self._graph.table.aliases if self._graph else {}
        is_kept = aliases.get(key) == first and self._source_node(self._slots[first]) is node
        return self._source_node(self._slots[key]) if is_kept else node

    def _tensor(self, key: str, spec: TensorSpec, slot: Slot | None) -> Node:
        entry = slot.entry if slot else None
        if slot is None or not isinstance(entry, TensorNode):
            return self._new_tensor(key, spec)
        stored = entry.stored
        if self._keeps_storages:
            return self._source_node(slot)
        if stored.spec == spec and stored.fills_part and stored.part not in self._kept:
            self._kept[stored.part] = key
            return self._source_node(slot)
        tensor = self._new_tensor(key, spec)
        is_wrapped = entry.parameter is not None and not self._is_module
        return new_parameter(entry.parameter, tensor) if is_wrapped and entry.parameter else tensor

    def _new_tensor(self, key: str, spec: TensorSpec) -> Call:
        storage = new_storage(spec)
        self._fresh[id(storage)] = key
        return new_tensor(spec, storage)

    @property
    def _is_module(self) -> bool:
        return self._graph is not None and self._graph.table.is_module

    def _source_node(self, slot: Slot) -> Node:
        """The source's node; of a module's Parameter the tensor in it, as `state_dict()` gives it."""
        is_wrapped = self._is_module and isinstance(slot.entry, TensorNode) and slot.entry.parameter is not None
        return slot.entry.node if is_wrapped and isinstance(slot.entry, TensorNode) else slot.node

    def followed_optimizers(self, graph: Graph) -> dict[int, Node]:
        """For each optimizer whose state changes (by its identity) what it becomes."""
        states = states_in(graph.optimizers)
        return {id(states[place]): followed(states[place], groups, self._new_tensor) for place, groups in self._optimizers.items()}

    def is_untouched(self, graph: Graph) -> bool:
        """Whether keys, order, nodes and `_metadata` are the source's."""
        nodes = {key: slot.node for key, slot in self._slots.items()}
        same_nodes = list(nodes) == list(self._nodes) and all(self._nodes[key] is node for key, node in nodes.items())
        return same_nodes and not graph.table.is_module and self._header.torch_metadata == graph.table.metadata

    def new_node(self) -> Node:
        """The table as a mapping of the source's kind; of a module, and without a source, an OrderedDict."""
        pairs: list[Pair] = [(self._slots[key].key if key in self._slots else key, node) for key, node in self._nodes.items()]
        source = self._graph.table.node if self._graph else None
        if type(source) is Dict and not self._header.torch_metadata:
            return Dict(pairs)
        if type(source) is Call and not self._is_module:
            attributes = self._attributes(source)
            return replace(with_pairs(source, pairs), state=Dict(attributes) if attributes else ABSENT)
        return ordered_dict(pairs, self._attributes(None))

    def _attributes(self, source: Node) -> list[Pair]:
        """The attributes of the source's table, with the output's `_metadata`."""
        metadata = self._header.torch_metadata
        found = state_pairs(source)
        others = [(name, value) for name, value in found if name != _METADATA]
        if not metadata:
            return others
        is_same = self._graph is not None and metadata == self._graph.table.metadata and len(others) < len(found)
        return found if is_same else [*others, (_METADATA, metadata_node(metadata))]

    def numbered(self, root: Node, replacements: Mapping[int, Node] | None = None) -> Output:
        """The pickle with its storages numbered in the order in which they are met, as torch does it."""
        numbering = _Numbering(self._fresh, self._kept, replacements or {}, self._graph)
        pickle = write_pickle(root, numbering.substitute)
        return Output(pickle, tuple(numbering.storages))


class _Numbering:
    """Stands other nodes in, and gives each storage its number at the first sight of it."""

    def __init__(
        self, fresh: Mapping[int, str], kept: Mapping[tuple[str, int, int], str], replacements: Mapping[int, Node], graph: Graph | None
    ) -> None:
        self.storages: list[str | StoragePart] = []
        self._fresh, self._kept, self._replacements, self._graph = fresh, kept, replacements, graph
        self._numbers: dict[str | tuple[str, int, int], str] = {}

    def substitute(self, node: Node) -> Node:
        """The node which stands for `node` in the output."""
        node = self._replacements.get(id(node), node)
        return self._storage(node) if type(node) is Persistent else node

    def _storage(self, node: Persistent) -> Node:
        key = self._fresh.get(id(node))
        if key is not None:
            return _renamed(node, self._number(key, key), node.pid[4])
        if not is_storage(node) and type(node.pid) is tuple and len(node.pid) > 1 and node.pid[0] == "module":
            return node.pid[1]  # the older layout's class with its source text
        found = storage_id(node)
        part = self._part(found)
        place = (part.key, part.offset, part.nbytes)
        number = self._number(place, self._kept.get(place, part))
        if found.key == number and len(node.pid) == 5:
            return node
        return _renamed(node, number, found.view[2] if found.view else found.numel)

    def _number(self, identity: str | tuple[str, int, int], origin: str | StoragePart) -> str:
        if identity not in self._numbers:
            # One string object for each storage, so that a second tensor on it names it by reference.
            self._numbers[identity] = Letter(len(self._numbers))
            self.storages.append(origin)
        return self._numbers[identity]

    def _part(self, found: StorageId) -> StoragePart:
        assert self._graph is not None  # all storages but the fresh ones are a source's, whose reader has checked them
        width = 0 if found.dtype is None else found.itemsize // (2 if found.dtype.is_complex else 1)
        if found.view is None:
            return StoragePart(found.key, 0, self._graph.storages.nbytes[found.key], width)
        _, offset, numel = found.view
        return StoragePart(found.key, offset * found.itemsize, numel * found.itemsize, width)


def _renamed(node: Persistent, number: str, numel: int) -> Persistent:
    name, owner, _, location, *_ = node.pid
    return Persistent((name, owner, number, location, numel))


def _without_optimizers(graph: Graph) -> dict[int, Node]:
    """For each container which holds optimizers (by its identity) a copy without them."""
    dropped = {id(child.node) for child in graph.optimizers.values()}
    return {id(child.holder): _without(child.holder, dropped) for child in graph.optimizers.values()}


def _without(holder: Node, dropped: set[int]) -> Node:
    if isinstance(holder, list | tuple):
        return type(holder)(item for item in holder if id(item) not in dropped)
    pairs = [(key, value) for key, value in pairs_of(holder) or () if id(value) not in dropped]
    if pairs_of(holder) is None and type(holder) is not Dict:
        return replace(holder, items=[item for item in holder.items if id(item) not in dropped])
    return with_pairs(holder, pairs)
