"""A live state_dict as a Header, and as a Reader of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.errors import ModelError, Problem
from ckpt_surgeon.spec import DTYPES, Entry, Header, Kind, Opaque, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["StateDictReader", "header_of_module", "header_of_state_dict", "module_state"]

# torch leaves this flag in `_metadata` after `load_state_dict(assign=True)`; it describes that call, not the weights.
_CALL_FLAG = "assign_to_params_buffers"


class StateDictReader:
    """A Reader over a dict in memory: nothing lies in a file, so no tensor has a span."""

    def __init__(self, state_dict: Mapping[str, Any], *, header: Header | None = None) -> None:
        """Raises ModelError for what is no state_dict: no mapping, keys which are no text, a table inside a table."""
        self.header = header or header_of_state_dict(state_dict)
        self._entries = state_dict

    @classmethod
    def of_module(cls, module: nn.Module) -> Self:
        """A reader of the module's current weights."""
        return cls(module_state(module), header=header_of_module(module))

    def read(self, key: str) -> torch.Tensor:
        """A contiguous copy on the CPU; ModelError for a tensor on the meta device, which has no values."""
        import torch

        tensor: torch.Tensor = self._entries[key]
        if tensor.is_meta:
            raise ModelError("it is on the meta device and has no values", where=key, hint="give a model or a state_dict with weights")
        plain = tensor.detach().resolve_conj().resolve_neg()
        if tensor.itemsize > 1:
            return _copied(plain)
        return _copied(plain.view(torch.uint8)).view(tensor.dtype)  # torch cannot copy a uint4 under its own name

    def read_opaque(self, key: str) -> Any:
        """The entry itself; it is the caller's own object, not a copy."""
        return self._entries[key]

    def span(self, key: str) -> FileRange | None:
        """Always None."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def module_state(module: nn.Module) -> Mapping[str, Any]:
    """The module's state_dict with its parameters as they are, hooks run; ModelError when the module's own code fails."""
    try:
        state: Mapping[str, Any] = module.state_dict(keep_vars=True)
    except Exception as error:  # state_dict hooks and get_extra_state are the user's code
        raise ModelError(f"{type(module).__name__}.state_dict() failed: {type(error).__name__}: {error}") from error
    _require_text_keys(state)
    return state


def header_of_module(module: nn.Module) -> Header:
    """The header of a live module: its state_dict's entries in torch's order, with kinds, ties and `_metadata`.

    Raises ModelError for a lazy module whose shapes are not known yet.
    """
    return _header(module_state(module), "model")


def header_of_state_dict(state_dict: Mapping[str, Any]) -> Header:
    """The header of a dict of tensors; whatever is no plain tensor in it is opaque.

    Raises ModelError for what is no state_dict: no mapping, keys which are no text, a table inside a table.
    """
    if not isinstance(state_dict, Mapping):
        raise ModelError(f"expected a state_dict, found {type(state_dict).__name__}", hint="give a dict of key -> tensor")
    _require_text_keys(state_dict)
    return _header(state_dict, "state_dict")


def _require_text_keys(state_dict: Mapping[Any, Any]) -> None:
    odd = next((key for key in state_dict if not isinstance(key, str)), None)
    if odd is not None:
        raise ModelError(f"a state_dict's keys are text, found {odd!r} ({type(odd).__name__})")


def _header(state_dict: Mapping[str, Any], form: str) -> Header:
    _refuse_lazy(state_dict)
    entries = {key: _entry(value) for key, value in state_dict.items()}
    _refuse_envelope(state_dict, entries)
    plain = {key: state_dict[key] for key, entry in entries.items() if isinstance(entry, TensorSpec)}
    kinds = {key: kind for key, value in state_dict.items() if (kind := _kind(value, form))}
    return Header(entries, kinds, _aliases(plain), torch_metadata=_torch_metadata(state_dict), format=form)


def _entry(value: object) -> Entry:
    import torch

    if not isinstance(value, torch.Tensor):
        return Opaque(type(value).__name__)
    dtype = DTYPES.get(str(value.dtype).removeprefix("torch."))
    if dtype is None or not _is_plain(value):
        return Opaque(_describe(value))
    return TensorSpec(tuple(value.shape), dtype)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether its elements lie in one strided storage. A Parameter's subclass counts unless it intercepts torch's operators."""
    import torch

    plain_class = type(tensor) is torch.Tensor or (
        issubclass(type(tensor), torch.nn.Parameter) and type(tensor).__torch_dispatch__ == torch.Tensor.__torch_dispatch__
    )
    return plain_class and tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested


def _describe(tensor: torch.Tensor) -> str:
    import torch

    words = [] if type(tensor) in (torch.Tensor, torch.nn.Parameter) else [type(tensor).__name__]
    words += [str(tensor.layout).removeprefix("torch.")] if tensor.layout != torch.strided else []
    words += ["quantized"] if tensor.is_quantized else []
    words += ["nested"] if tensor.is_nested else []
    return " ".join([*words, "tensor", str(tensor.dtype).removeprefix("torch.")])


def _kind(value: object, form: str) -> Kind | None:
    """Parameters stay recognizable in any dict; that the rest are buffers is known of a module only."""
    import torch

    if isinstance(value, torch.nn.Parameter):
        return "parameter"
    return "buffer" if form == "model" and isinstance(value, torch.Tensor) else None


def _aliases(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    firsts: dict[tuple[object, ...], str] = {}
    aliases: dict[str, str] = {}
    for key, tensor in tensors.items():
        first = firsts.setdefault(_view(tensor), key)
        if first != key:
            aliases[key] = first
    return aliases


def _view(tensor: torch.Tensor) -> tuple[object, ...]:
    """What two names of one tensor have in common; on the meta device too, where there is no address."""
    storage = tensor.untyped_storage()._cdata
    place = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
    return (storage, *place, tensor.dtype, tensor.is_conj(), tensor.is_neg())


def _torch_metadata(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    metadata = getattr(state_dict, "_metadata", None)
    if not isinstance(metadata, Mapping):
        return {}
    tables = {module: table for module, table in metadata.items() if isinstance(table, Mapping)}
    return {module: {name: value for name, value in table.items() if name != _CALL_FLAG} for module, table in tables.items()}


def _refuse_lazy(state_dict: Mapping[str, Any]) -> None:
    from torch.nn.parameter import is_lazy

    lazy = [key for key, value in state_dict.items() if is_lazy(value)]
    if lazy:
        hint = "run one forward pass before, so that the lazy modules know their shapes"
        raise ModelError([Problem("not initialized yet, its shape is unknown", where=key, hint=hint) for key in lazy])


def _refuse_envelope(state_dict: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
    """A dict around a state_dict is the caller's slip, where nothing in it is a tensor itself."""
    if any(isinstance(entry, TensorSpec) for entry in entries.values()):
        return
    import torch

    for key, value in state_dict.items():
        if isinstance(value, Mapping) and any(isinstance(part, torch.Tensor) for part in value.values()):
            raise ModelError(f"the tensors lie one level deeper, in {key!r}", hint=f"give the table itself: checkpoint[{key!r}]")
