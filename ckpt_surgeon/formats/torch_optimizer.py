"""The state of an optimizer as torch's `state_dict()` has it: what it says of which parameter, and the same for other parameters. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from ckpt_surgeon.formats.pickle_nodes import Node, Pair, lookup
from ckpt_surgeon.formats.pickle_words import words
from ckpt_surgeon.formats.protocol import KeptParameter
from ckpt_surgeon.formats.torch_containers import Child, key_text, pairs_of, with_pairs
from ckpt_surgeon.formats.torch_table import Slot, TensorOf
from ckpt_surgeon.formats.torch_tensors import TensorNode
from ckpt_surgeon.spec import Entry, Opaque, OptimizerState, ParameterId, TensorSpec, state_key

__all__ = ["followed", "is_named", "state_of", "state_slots", "states_in"]

_STATE: Final = "state"
_GROUPS: Final = "param_groups"
_IDS: Final = "params"
_NAMES: Final = "param_names"
# torch counts from 0; its first versions took addresses.
_MAX_ID_BITS: Final = 64

_Entries = dict[ParameterId, Node]


def states_in(optimizers: Mapping[str, Child]) -> dict[str, Node]:
    """The states by their places, those of a list one by one (`optimizer_states.0`); one which is named twice at its first place."""
    places: dict[int, tuple[str, Node]] = {}
    for path, child in optimizers.items():
        is_list = isinstance(child.node, list | tuple)
        for place, node in [(f"{path}.{i}", item) for i, item in enumerate(child.node)] if is_list else [(path, child.node)]:
            places.setdefault(id(node), (place, node))
    return dict(places.values())


def state_of(node: Node, tensor_of: TensorOf) -> OptimizerState | None:
    """What the state says; None where it is no `state_dict()` (a pickled optimizer), or holds what torch's do not."""
    groups, entries = _groups(node), _entries(node)
    if groups is None or entries is None:
        return None
    ids = [_ids(group) for group in groups]
    known = list(chain.from_iterable(found or () for found in ids))
    if None in ids or len(set(known)) < len(known) or not set(known).issuperset(entries):
        return None
    names = [_names(group) for group in groups]
    named = list(known) if all(isinstance(each, str) for each in known) else list(chain.from_iterable(names))
    described = {each: _described(entry, tensor_of) for each, entry in entries.items()}
    if None in described.values():
        return None
    return OptimizerState(
        groups=tuple(tuple(found or ()) for found in ids),
        names={each: str(name) for each, name in zip(known, named, strict=True)} if len(named) == len(known) else {},
        entries={each: entry for each, entry in described.items() if entry is not None},
    )


def is_named(node: Node) -> bool:
    """Whether groups name their parameters, or have names in the place of ids."""
    return any(_names(group) or any(isinstance(each, str) for each in _ids(group) or ()) for group in _groups(node) or ())


def state_slots(optimizers: Mapping[str, Child], tensor_of: TensorOf) -> dict[str, Slot]:
    """The tensors of all states whose form is known, by `state_key`."""
    slots: dict[str, Slot] = {}
    for place, node in states_in(optimizers).items():
        for parameter, entry in (_entries(node) or {}).items():
            for key, value in pairs_of(entry) or ():
                found, name = tensor_of(value), key_text(key)
                if isinstance(found, TensorNode) and name is not None:
                    slots[state_key(place, parameter, name)] = Slot(key, value, found)
    return slots


def followed(node: Node, groups: Sequence[Sequence[KeptParameter]], new_tensor: Callable[[str, TensorSpec], Node]) -> Node:
    """The state for the parameters of these groups, numbered anew in their order; what else the groups and entries hold stays.

    new_tensor: (key, spec) -> the node of a tensor which is written under that key.
    """
    entries, old_groups = _entries(node) or {}, _groups(node) or []
    ids = _new_ids([_ids(group) or [] for group in old_groups], groups)
    parameters = zip(chain.from_iterable(ids), chain.from_iterable(groups), strict=True)
    state: list[Pair] = [
        (each, _entry(entries[parameter.source], parameter, new_tensor)) for each, parameter in parameters if parameter.source in entries
    ]
    new_groups = [_group(*each) for each in zip(old_groups, ids, groups, strict=True)]
    values: dict[str, Node] = {_STATE: with_pairs(lookup(pairs_of(node) or [], _STATE), state), _GROUPS: new_groups}
    return with_pairs(node, [(key, values.get(str(key), value)) for key, value in pairs_of(node) or ()])


def _new_ids(old: list[list[ParameterId]], groups: Sequence[Sequence[KeptParameter]]) -> list[list[ParameterId]]:
    """Numbers from 0 on, as torch gives them; names where the source has names; of parameters without names the old ones."""
    by_name = all(isinstance(each, str) for each in chain.from_iterable(old))
    numbers = iter(range(sum(map(len, groups))))
    if any(parameter.name is None for parameter in chain.from_iterable(groups)):
        return old
    return [[parameter.name or "" if by_name else next(numbers) for parameter in group] for group in groups]


def _entry(entry: Node, parameter: KeptParameter, new_tensor: Callable[[str, TensorSpec], Node]) -> Node:
    if not parameter.made:
        return entry
    named = [(key, value, parameter.made.get(key_text(key) or "")) for key, value in pairs_of(entry) or ()]
    return with_pairs(entry, [(key, value if made is None else new_tensor(*made)) for key, value, made in named])


def _group(group: Node, ids: list[ParameterId], parameters: Sequence[KeptParameter]) -> Node:
    names = [parameter.name for parameter in parameters]
    values: dict[str, Node] = {_IDS: ids} | ({} if None in names else {_NAMES: names})
    return with_pairs(group, [(key, values.get(key, value) if isinstance(key, str) else value) for key, value in pairs_of(group) or ()])


def _groups(node: Node) -> list[Node] | None:
    found = lookup(pairs_of(node) or [], _GROUPS)
    return list(found) if isinstance(found, list | tuple) else None


def _entries(node: Node) -> _Entries | None:
    """Id -> what is held for the parameter; None where a key is no id, or is there twice."""
    pairs = pairs_of(lookup(pairs_of(node) or [], _STATE))
    if pairs is None or not _are_ids(key for key, _ in pairs):
        return None
    entries = {_id(key): value for key, value in pairs}
    return entries if len(entries) == len(pairs) else None


def _ids(group: Node) -> list[ParameterId] | None:
    found = lookup(pairs_of(group) or [], _IDS)
    return [_id(each) for each in found] if isinstance(found, list | tuple) and _are_ids(found) else None


def _names(group: Node) -> list[str]:
    found = lookup(pairs_of(group) or [], _NAMES)
    return [str(name) for name in found] if isinstance(found, list | tuple) and all(isinstance(name, str) for name in found) else []


def _are_ids(nodes: Iterable[Node]) -> bool:
    return all(isinstance(node, str) or (type(node) is int and node.bit_length() <= _MAX_ID_BITS) for node in nodes)


def _id(node: Node) -> ParameterId:
    return node if type(node) is int else str(node)


def _described(entry: Node, tensor_of: TensorOf) -> dict[str, Entry | str] | None:
    """What is held for one parameter, by name; None where that is no mapping, or a name has a dot, which would make `state_key`s alike."""
    pairs = pairs_of(entry)
    names = [key_text(key) for key, _ in pairs or ()]
    if pairs is None or any(name is None or "." in name for name in names) or len(set(names)) < len(names):
        return None
    return {name or "": _value(value, tensor_of) for name, (_, value) in zip(names, pairs, strict=True)}


def _value(node: Node, tensor_of: TensorOf) -> Entry | str:
    found = tensor_of(node)
    if found is not None:
        return found.stored.spec if isinstance(found, TensorNode) else found
    if type(node) is int:
        return f"{node:x}"  # decimal digits take time in the square of their number
    return repr(node) if node is None or isinstance(node, bool | float) else Opaque(words(node))
