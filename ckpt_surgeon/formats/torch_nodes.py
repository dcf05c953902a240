"""New nodes as `torch.save` would pickle them: tensors, state_dicts, `_metadata`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from ckpt_surgeon.formats.pickle_nodes import ABSENT, Call, Dict, Global, Node, Pair, Persistent
from ckpt_surgeon.formats.torch_storage import storage_class
from ckpt_surgeon.formats.torch_tensors import contiguous_strides
from ckpt_surgeon.spec import DTYPES, TensorSpec

__all__ = ["metadata_node", "new_parameter", "new_storage", "new_tensor", "ordered_dict"]

# One node for each name and text, so that a pickle says them once, as CPython does for its own constants.
_ORDERED_DICT: Final = Global("collections", "OrderedDict")
_REBUILD_TYPED: Final = Global("torch._utils", "_rebuild_tensor_v2")
_REBUILD_UNTYPED: Final = Global("torch._utils", "_rebuild_tensor_v3")
_UNTYPED: Final = Global("torch.storage", "UntypedStorage")
_DTYPES: Final[Mapping[str, Global]] = MappingProxyType({name: Global("torch", name) for name in DTYPES})
_STORAGE: Final = "storage"
_LOCATION: Final = "cpu"
# The name of a storage until the writer numbers it.
_UNNUMBERED: Final = ""


def ordered_dict(pairs: Iterable[Pair], attributes: Iterable[Pair] = ()) -> Call:
    """`OrderedDict(pairs)`, with attributes (`_metadata`)."""
    state = Dict(list(attributes))
    return Call(_ORDERED_DICT, (), pairs=list(pairs) or None, state=state if state.pairs else ABSENT)


def metadata_node(metadata: Mapping[str, Mapping[str, Any]]) -> Call:
    """The `_metadata` of a state_dict."""
    return ordered_dict((module, _plain_node(values)) for module, values in metadata.items())


def _plain_node(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Dict([(key, _plain_node(inner)) for key, inner in value.items()])
    return [_plain_node(item) for item in value] if isinstance(value, list | tuple) else value


def new_tensor(spec: TensorSpec, storage: Persistent) -> Call:
    """A contiguous tensor on a storage of its own: one of `new_storage`."""
    typed = storage_class(spec.dtype) is not None
    hooks = Call(_ORDERED_DICT, ())
    shape = tuple(size for size in spec.shape)  # of its own, as torch has it: specs may share theirs, and one object is written once
    common = (storage, 0, shape, contiguous_strides(spec.shape), False, hooks)
    if typed:
        return Call(_REBUILD_TYPED, common)
    return Call(_REBUILD_UNTYPED, (*common, _DTYPES[spec.dtype.name]))


def new_storage(spec: TensorSpec, key: str = _UNNUMBERED) -> Persistent:
    """The storage of one contiguous tensor, by default still without its number."""
    owner = storage_class(spec.dtype)
    numel = spec.nbytes if owner is None else spec.numel
    return Persistent((_STORAGE, owner or _UNTYPED, key, _LOCATION, numel))


def new_parameter(parameter: Call, tensor: Call) -> Call:
    """The same Parameter around another tensor."""
    if parameter.function.name != "_rebuild_from_type_v2":
        return replace(parameter, arguments=(tensor, *parameter.arguments[1:]))
    function, kind, arguments, state = parameter.arguments
    if function.name.startswith("_rebuild_parameter"):
        return replace(parameter, arguments=(function, kind, (tensor, *arguments[1:]), state))
    return replace(parameter, arguments=(tensor.function, kind, tensor.arguments, state))
