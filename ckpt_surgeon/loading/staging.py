"""All or nothing: a module loads into stand-ins for its tensors, and only a load which succeeded reaches the tensors themselves."""

from __future__ import annotations

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.evaluation import same_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["all_or_nothing"]


@contextmanager
def all_or_nothing(model: nn.Module, values: Mapping[str, Any]) -> Iterator[None]:
    """Inside, `model` may load its state_dict; when that raises, it is bit for bit what it was before.

    values: key -> the tensor, on the CPU, which is to be loaded there, in the shape and dtype of the module's. It is given
    away: the stand-in takes its memory, and during the last step the old values, so that no third copy of the weights is
    made. While the module loads, its parameters and buffers are the stand-ins.

    What is put back on an error: tensors, attributes, the contents of dicts, lists and sets which are attributes,
    and extra state. Not covered: what the module's own code changes deeper inside other objects.
    """
    import torch

    snapshots = [_Snapshot(module) for module in model.modules()]
    staged = _Staged(model, values)
    try:
        staged.put_in(model)
        yield
        with torch.no_grad():
            staged.commit(model)
    except BaseException:
        with torch.no_grad():
            staged.undo()
        for snapshot in snapshots:
            snapshot.restore()
        raise


class _Snapshot:
    """One module's attributes, the contents of its plain containers, and its extra state."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attributes = dict(module.__dict__)
        self._contents = [(value, copy.copy(value)) for value in self._attributes.values() if type(value) in (dict, OrderedDict, list, set)]
        self._extra = _extra_state(module)

    def restore(self) -> None:
        """Put everything back, into the same containers."""
        for container, content in self._contents:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(content)
        self._module.__dict__.clear()
        self._module.__dict__.update(self._attributes)
        if self._extra:
            with contextlib.suppress(Exception):  # the user's code; the attributes are back in any case
                self._module.set_extra_state(self._extra[0])


def _extra_state(module: nn.Module) -> tuple[Any, ...]:
    from torch import nn

    if type(module).set_extra_state is nn.Module.set_extra_state:
        return ()
    try:
        return (copy.deepcopy(module.get_extra_state()),)
    except Exception:  # noqa: BLE001 - the user's code; without a copy the attributes alone are put back
        return ()


class _Staged:
    """The stand-ins of a module's tensors, and what is needed to undo a commit."""

    def __init__(self, model: nn.Module, values: Mapping[str, Any]) -> None:
        self._stand_ins: dict[int, torch.Tensor] = {}
        self._originals: dict[int, torch.Tensor] = {}
        self._loaded: set[int] = set()
        self._undo: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._memory: set[int] = set()
        self._scratch: torch.Tensor
        for path, module in model.named_modules():
            for _, name, tensor in _tensors(module):
                if id(tensor) not in self._stand_ins:
                    self._stage(tensor, values.get(f"{path}.{name}" if path else name))

    def _stage(self, original: torch.Tensor, value: Any) -> None:
        is_loaded = _replaces(value, original)
        stand_in = _stand_in(original, self._private(value) if is_loaded else _copied(original))
        self._stand_ins[id(original)] = stand_in
        self._originals[id(stand_in)] = original
        if is_loaded:
            self._loaded.add(id(stand_in))

    def _private(self, value: torch.Tensor) -> torch.Tensor:
        """The value, copied when another stand-in already lives in its memory."""
        memory = value.untyped_storage()._cdata
        shared = memory in self._memory
        self._memory.add(memory)
        return value.clone() if shared else value.detach()

    def put_in(self, model: nn.Module) -> None:
        """Let the module's entries be the stand-ins."""
        for module in model.modules():
            for table, name, tensor in _tensors(module):
                table[name] = self._stand_ins.get(id(tensor), tensor)

    def commit(self, model: nn.Module) -> None:
        """Put the module's own tensors back and give them the loaded values; the stand-ins take the old values."""
        import torch

        pairs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for module in model.modules():
            for table, name, tensor in _tensors(module):
                original = self._originals.get(id(tensor))
                if original is not None:
                    table[name] = original
                    pairs[id(original)] = (original, tensor)
        self._scratch = torch.empty(max((_nbytes(original) for original, _ in pairs.values()), default=0), dtype=torch.uint8)
        rivals = [(original, pairs[id(original)][1].clone()) for original in _overlapping([each for each, _ in pairs.values()])]
        for original, stand_in in pairs.values():
            if id(stand_in) in self._loaded or not _equal(original, stand_in):
                self._exchange(original, stand_in)
        for original, wanted in rivals:
            if not same_bytes(original.cpu(), wanted.cpu()):
                shape = list(original.shape)
                raise ModelError(
                    f"a tensor {shape} of the model overlaps another one in memory, and the source has different values for both"
                )

    def _exchange(self, original: torch.Tensor, stand_in: torch.Tensor) -> None:
        old = self._saved(original)
        self._undo.append((original, old))
        try:
            original.copy_(stand_in)
        except RuntimeError as error:
            if _equal(original, old):  # it refused before it took a value
                self._undo.pop()
            raise ModelError(f"a tensor {list(original.shape)} of the model cannot be written, nothing was loaded: {error}") from error
        stand_in.copy_(old)
        self._undo[-1] = (original, stand_in)

    def _saved(self, original: torch.Tensor) -> torch.Tensor:
        """The old value, in one memory for all: to allocate and free one for each tensor leaves the heap in holes."""
        if not _is_plain(original):
            return original.detach().clone()
        place = self._scratch[: _nbytes(original)].view(original.dtype).view(original.shape)
        return place.copy_(original)

    def undo(self) -> None:
        """Give the old values back to every tensor which was written, last first (they may overlap)."""
        for original, old in reversed(self._undo):
            original.copy_(old)


def _overlapping(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Those which share some memory with another one of the list (tied tensors are one object, and stand in it once)."""
    plain = [tensor for tensor in tensors if _is_plain(tensor) and tensor.numel()]
    ordered = sorted(plain, key=lambda tensor: (str(tensor.device), tensor.data_ptr()))
    found: dict[int, torch.Tensor] = {}
    last, end = None, ("", 0)
    for tensor in ordered:
        place = str(tensor.device)
        if last is not None and end[0] == place and tensor.data_ptr() < end[1]:
            found |= {id(last): last, id(tensor): tensor}
        extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        stop = (place, tensor.data_ptr() + extent * tensor.element_size())
        last, end = (tensor, stop) if last is None or stop > end else (last, end)
    return list(found.values())


def _tensors(module: nn.Module) -> list[tuple[dict[str, Any], str, torch.Tensor]]:
    tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
    return [(table, name, tensor) for table in tables for name, tensor in table.items() if tensor is not None]


def _replaces(value: Any, original: torch.Tensor) -> bool:
    import torch

    return (
        isinstance(value, torch.Tensor) and value.layout == torch.strided and (value.shape, value.dtype) == (original.shape, original.dtype)
    )


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, on the CPU where the tensor is a plain one."""
    return tensor.detach().to("cpu", copy=True) if _is_plain(tensor) else tensor.detach().clone()


def _is_plain(tensor: torch.Tensor) -> bool:
    import torch

    return type(tensor.detach()) is torch.Tensor and tensor.layout == torch.strided


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size() if _is_plain(tensor) else 0


def _stand_in(original: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A tensor with the value, in the role, class and attributes of the original."""
    import torch

    stand_in = torch.nn.Parameter(value, original.requires_grad) if isinstance(original, torch.nn.Parameter) else value
    if type(stand_in) is not type(original):
        stand_in.__class__ = type(original)
    stand_in.__dict__.update(original.__dict__)
    return stand_in


def _equal(original: torch.Tensor, stand_in: torch.Tensor) -> bool:
    """Whether two plain tensors are the same bit for bit; of other tensors that is not asked."""
    return _is_plain(original) and same_bytes(original.cpu(), stand_in.cpu())
