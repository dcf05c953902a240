"""One table of tensors: a state_dict, or a whole pickled nn.Module walked into one.

Of a module neither class nor hooks are there: what its own `state_dict` hooks or `get_extra_state` would add or change is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats.pickle_nodes import Node, lookup
from ckpt_surgeon.formats.pickle_words import class_of, words
from ckpt_surgeon.formats.torch_containers import is_module, key_text, pairs_of, set_items, state_pairs
from ckpt_surgeon.formats.torch_tensors import Entry, TensorNode
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Kind, Opaque, TableSummary

__all__ = ["Slot", "Table", "TensorOf", "table_of"]

TensorOf = Callable[[Node], Entry | None]

# A key of a state_dict has a segment for each level; deep models have about 20.
_MAX_MODULE_DEPTH: Final = 200
# The largest models have some 100,000; a module may be named twice, so a small file can name very many.
_MAX_ENTRIES: Final = 1_000_000
_MAX_METADATA_DEPTH: Final = 8
# Attributes and entries of modules which are walked, each time anew for a module of two names; 100,000 modules have some 3 million.
_MAX_STEPS: Final = 4_000_000
_STEPS_PER_MODULE: Final = 10
# The prefix is said anew for each entry below it.
_MAX_PREFIX_LENGTH: Final = 4096


class Slot(NamedTuple):
    """An entry of a table: its key and value in the graph, and what the value is. A named tuple, as there may be very many."""

    key: Node
    node: Node
    entry: Entry
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a dotted path of the envelope. `node`: the mapping or module which holds it."""

    path: str
    node: Node
    slots: dict[str, Slot]
    aliases: dict[str, str]
    metadata: dict[str, dict[str, Any]]
    is_module: bool = False

    @property
    def summary(self) -> TableSummary:
        """Its tensors and their bytes, tied ones once."""
        specs = {key: slot.entry.stored.spec for key, slot in self.slots.items() if isinstance(slot.entry, TensorNode)}
        return TableSummary(self.path, len(specs), sum(spec.nbytes for key, spec in specs.items() if key not in self.aliases))


def table_of(node: Node, path: str, tensor_of: TensorOf) -> Table:
    """The table which `node`, a mapping or a module, holds.

    Raises CorruptError for double keys or keys which are no strings, UnsafeError for a submodule only its class could read.
    """
    walked = is_module(node)
    slots: dict[str, Slot] = {}
    for key, slot in _module_slots(node, tensor_of) if walked else _mapping_slots(node, tensor_of):
        if key in slots:
            raise CorruptError(f"the table {path or '(root)'} holds the key {key!r} twice")
        if len(slots) == _MAX_ENTRIES:
            raise LimitError(f"the table {path or '(root)'} has more than {_MAX_ENTRIES:,} entries")
        slots[key] = slot
    return Table(path, node, slots, _aliases(slots), {} if walked else _metadata(node), walked)


def _mapping_slots(node: Node, tensor_of: TensorOf) -> Iterator[tuple[str, Slot]]:
    for key, value in pairs_of(node) or ():
        text = key_text(key)
        if text is None:
            raise CorruptError(f"a table of tensors with the key {words(key)}, which is no string")
        yield text, Slot(key, value, tensor_of(value) or Opaque(words(value)))


def _module_slots(node: Node, tensor_of: TensorOf) -> Iterator[tuple[str, Slot]]:
    """Parameters, buffers, then the modules below, in torch's order; each open module is an iterator on the stack."""
    open_modules: list[Iterator[tuple[str, Node]]] = [iter([("", node)])]
    holders: list[Node] = []
    steps = 0
    while open_modules:
        prefix, module = next(open_modules[-1], ("", None))
        if module is None:
            open_modules.pop()
            holders[-1:] = []
            continue
        steps += _steps(module)
        if len(open_modules) > _MAX_MODULE_DEPTH or any(module is holder for holder in holders):
            raise LimitError(f"the module {prefix[:_MAX_MODULE_DEPTH] or '(root)'} nests too deep, or holds itself")
        if steps > _MAX_STEPS or len(prefix) > _MAX_PREFIX_LENGTH:
            raise LimitError(f"the modules have more than {_MAX_STEPS:,} entries, or names of more than {_MAX_PREFIX_LENGTH:,} characters")
        yield from _own_slots(module, prefix, tensor_of)
        open_modules.append(_submodules(module, prefix))
        holders.append(module)


def _steps(module: Node) -> int:
    """What a walk of the module's own parts takes."""
    pairs = state_pairs(module)
    return (
        _STEPS_PER_MODULE + len(pairs) + sum(len(pairs_of(lookup(pairs, part)) or ()) for part in ("_parameters", "_buffers", "_modules"))
    )


def _own_slots(module: Node, prefix: str, tensor_of: TensorOf) -> Iterator[tuple[str, Slot]]:
    pairs = state_pairs(module)
    passing = {str(name) for name in set_items(lookup(pairs, "_non_persistent_buffers_set")) or () if isinstance(name, str)}
    for part, kind in _KINDS:
        for key, value in pairs_of(lookup(pairs, part)) or ():
            name = key_text(key)
            if value is None or name is None or (kind == "buffer" and name in passing):
                continue
            yield prefix + name, Slot(prefix + name, value, tensor_of(value) or Opaque(words(value)), kind)


_KINDS: Final[tuple[tuple[str, Kind], ...]] = (("_parameters", "parameter"), ("_buffers", "buffer"))


def _submodules(module: Node, prefix: str) -> Iterator[tuple[str, Node]]:
    for key, child in pairs_of(lookup(state_pairs(module), "_modules")) or ():
        name = key_text(key)
        if child is None or name is None:
            continue
        if not is_module(child):
            raise UnsafeError(f"the submodule {prefix + name!r} is a {class_of(child)} in a form which only its class could read")
        yield f"{prefix}{name}.", child


def _aliases(slots: dict[str, Slot]) -> dict[str, str]:
    """Tied key -> the first key of the same storage, dtype, shape, strides and offset."""
    tensors = {key: slot.entry.stored for key, slot in slots.items() if isinstance(slot.entry, TensorNode)}
    uses = Counter(stored.key for stored in tensors.values())
    first: dict[object, str] = {}
    aliases = {}
    for key, stored in tensors.items():
        # Most storages are one tensor's: only where one is not are they looked at as a whole.
        known = first.setdefault(stored, key) if uses[stored.key] > 1 else key
        if known != key:
            aliases[key] = known
    return aliases


def _metadata(node: Node) -> dict[str, dict[str, Any]]:
    """`_metadata` of a state_dict: module -> its plain values (`version`)."""
    found = {}
    budget = iter(range(_MAX_ENTRIES))
    for key, value in pairs_of(lookup(state_pairs(node), "_metadata")) or ():
        name, values = key_text(key), _plain(value, _MAX_METADATA_DEPTH, budget)
        if name is not None and isinstance(values, dict):
            found[name] = values
    return found


def _plain(node: Node, levels: int, budget: Iterator[int]) -> Any:
    """The node as JSON would hold it; what it could not hold is left out (None). Raises LimitError when the budget is spent."""
    if next(budget, None) is None:
        raise LimitError(f"the _metadata of the table has more than {_MAX_ENTRIES:,} values")
    if isinstance(node, str):
        return str(node)
    if node is None or isinstance(node, bool | int | float):
        return node
    if not levels:
        return None
    if isinstance(node, list | tuple):
        return [_plain(item, levels - 1, budget) for item in node]
    pairs = pairs_of(node)
    return None if pairs is None else {str(key): _plain(value, levels - 1, budget) for key, value in pairs if isinstance(key, str)}
