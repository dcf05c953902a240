"""An open torch checkpoint: the graph of its pickle and the storages which it names; the part which both layouts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import SurgeryError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Call, Node
from ckpt_surgeon.formats.torch_bytes import Storages, load_tensor, span_of
from ckpt_surgeon.formats.torch_containers import Child
from ckpt_surgeon.formats.torch_envelope import choose_table, envelope_of, find_tables
from ckpt_surgeon.formats.torch_optimizer import is_named, state_of, state_slots, states_in
from ckpt_surgeon.formats.torch_table import Table
from ckpt_surgeon.formats.torch_tensors import Entry, TensorNode, tensor_of
from ckpt_surgeon.formats.torch_values import value_of
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Header, OptimizerState

if TYPE_CHECKING:
    import torch

__all__ = ["Graph", "TorchCheckpoint", "Unpacked"]

# What an opened file comes to: the root of its object graph, and its storages.
Unpacked = tuple[Node, Storages]


@dataclass(frozen=True, slots=True)
class Graph:
    """What a writer keeps of a source: the object graph, its storages, the table in use, and the optimizers by their places."""

    root: Node
    storages: Storages
    table: Table
    optimizers: Mapping[str, Child]


class TorchCheckpoint:
    """A Reader of an object graph and its storages. Owns the file."""

    header: Header
    graph: Graph

    def __init__(self, file: InputFile, unpack: Callable[[InputFile], Unpacked], format_name: str, table: str | None) -> None:
        """Takes the table of that path, or the only one; closes the file when there is an error.

        Raises RulesError for several tables or a wrong name, CorruptError for none, and what `unpack` raises.
        """
        self._file = file
        try:
            self._open(*unpack(file), format_name, table)
        except SurgeryError as error:
            self.close()
            raise error.located(file.path) from error
        except BaseException:
            self.close()
            raise

    def _open(self, root: Node, storages: Storages, format_name: str, table: str | None) -> None:
        self._describe = _Describe(storages.nbytes)
        contents = find_tables(root, self._describe)
        chosen = choose_table(root, contents, table, self._describe)
        self.graph = Graph(root, storages, chosen, contents.optimizers)
        self.header = Header(
            entries={key: _header_entry(slot.entry) for key, slot in chosen.slots.items()},
            kinds={key: slot.kind for key, slot in chosen.slots.items() if slot.kind is not None},
            aliases=chosen.aliases,
            torch_metadata=chosen.metadata,
            format=format_name,
            envelope=envelope_of(root, contents, chosen, self._describe),
        )

    def read(self, key: str) -> torch.Tensor:
        """The tensor on the CPU, contiguous, in its own memory. KeyError for a key which is no plain tensor."""
        entry = self.graph.table.slots[key].entry
        if not isinstance(entry, TensorNode):
            raise KeyError(key)
        return self._load(entry, key)

    def read_opaque(self, key: str) -> Any:
        """An opaque entry as plain Python values and tensors; UnsafeError when that would need its class."""
        return self._placed(key, lambda: value_of(self.graph.table.slots[key].node, lambda node: self._load_inner(node, key)))

    def span(self, key: str) -> FileRange | None:
        """Where the bytes of a tensor lie, if they are plain, contiguous and little-endian; else None.

        Raises CorruptError when they are a part of others which are damaged, as far as the layout can tell.
        """
        entry = self.graph.table.slots[key].entry
        if not isinstance(entry, TensorNode):
            return None
        found: FileRange | None = self._placed(key, lambda: span_of(entry.stored, self.graph.storages))
        return found

    def optimizer_states(self) -> dict[str, OptimizerState | None]:
        """What each optimizer holds, by its place (`optimizer`, `optimizer_states.0`); None for one in a form which is not known."""
        return {place: state_of(node, self._describe) for place, node in states_in(self.graph.optimizers).items()}

    @property
    def names_optimized(self) -> bool:
        """Whether an optimizer names its parameters, beside their ids or in their place."""
        return any(is_named(node) for node in states_in(self.graph.optimizers).values())

    @cached_property
    def optimizer_tensors(self) -> TorchCheckpoint:
        """A reader of the tensors which the optimizers hold, by `state_key`. The file stays this one's, which closes it."""
        view = copy(self)
        slots = state_slots(self.graph.optimizers, self._describe)
        view.graph = replace(self.graph, table=Table("", None, slots, {}, {}))
        view.header = Header({key: _header_entry(slot.entry) for key, slot in slots.items()}, format=self.header.format)
        return view

    def optimizer_number(self, key: str) -> bytes:
        """The bytes of one of `optimizer_tensors` which holds a number, as they lie in the file. KeyError for what is no plain tensor."""
        entry = self.optimizer_tensors.graph.table.slots[key].entry
        if not isinstance(entry, TensorNode):
            raise KeyError(key)
        stored = entry.stored
        return bytes(self._placed(key, lambda: self.graph.storages.read(stored.key, stored.start, stored.extent)))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _load(self, entry: TensorNode, key: str) -> torch.Tensor:
        tensor: torch.Tensor = self._placed(key, lambda: load_tensor(entry.stored, self.graph.storages))
        return tensor

    def _load_inner(self, node: Node, key: str) -> torch.Tensor | None:
        entry = self._describe(node)
        if entry is None:
            return None
        if not isinstance(entry, TensorNode):
            raise UnsafeError(f"a {entry}: only torch itself could rebuild it")
        return self._load(entry, key)

    def _placed(self, key: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except SurgeryError as error:
            raise error.located(f"{self._file.path}: {key}") from error


class _Describe:
    """`tensor_of`, asked once for each node."""

    def __init__(self, storage_nbytes: Mapping[str, int]) -> None:
        self._storage_nbytes = storage_nbytes
        self._known: dict[int, Entry | None] = {}

    def __call__(self, node: Node) -> Entry | None:
        if type(node) is not Call:
            return None
        if id(node) in self._known:
            return self._known[id(node)]
        entry = self._known[id(node)] = tensor_of(node, self._storage_nbytes)
        return entry


def _header_entry(entry: Entry) -> Any:
    return entry.stored.spec if isinstance(entry, TensorNode) else entry
