"""A model's own initialization, drawn with a seed: the values which an `init` rule puts where a checkpoint has none."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.model.building import build
from ckpt_surgeon.model.seeding import derived_seed, seeded
from ckpt_surgeon.model.state import StateDictReader, module_state

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["initial_tensors"]

# The names under which torch's own modules, and those written after them, keep their initialization.
_RESETS = ("reset_parameters", "_reset_parameters")


def initial_tensors(
    given: nn.Module | str, seed: int, keys: Iterable[str], *, arguments: Mapping[str, Any] | None = None
) -> StateDictReader:
    """A reader of freshly initialized tensors for `keys`; the caller's random numbers and the module stay untouched.

    A `pkg.module:factory` is built on the CPU under the seed, so its whole initialization counts. Of a live module only
    the submodules which own the keys are copied and reset, each with a seed of its own, made from `seed` and its name.

    Raises ModelError for a key which the model lacks, and for a live submodule without a `reset_parameters()` which sets it.
    """
    wanted = list(dict.fromkeys(keys))
    if isinstance(given, str):
        return StateDictReader(_built(given, seed, wanted, arguments))
    owners: dict[str, list[str]] = {}
    for key in wanted:
        owners.setdefault(key.rpartition(".")[0], []).append(key)
    fresh: dict[str, torch.Tensor] = {}
    for owner, own in owners.items():
        fresh |= _reset(given, owner, own, derived_seed(seed, owner))
    return StateDictReader({key: fresh[key] for key in wanted})


def _built(spec: str, seed: int, keys: list[str], arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    with seeded(seed):
        state = module_state(build(spec, arguments, device="cpu"))
    lacking = [key for key in keys if key not in state]
    if lacking:
        raise ModelError(f"the model has no {lacking[0]!r}", where=spec)
    return {key: state[key] for key in keys}


def _reset(model: nn.Module, owner: str, keys: list[str], seed: int) -> dict[str, torch.Tensor]:
    """Reset twice over different values: what differs afterwards was not set by the reset."""
    import torch

    module = _owner(model, owner, keys)
    first, second = (_reset_over(module, value, seed) for value in (0, 1))
    names = {key: key.rpartition(".")[2] for key in keys}
    for key, name in names.items():
        if not torch.equal(*(found[name].reshape(-1).view(torch.uint8) for found in (first, second))):
            raise ModelError(f"the initialization of {type(module).__name__} does not set it", where=key, hint=_HINT)
    return {key: first[name] for key, name in names.items()}


_HINT = "initialize it with zeros or ones, or give the model as pkg.module:factory"


def _owner(model: nn.Module, name: str, keys: list[str]) -> nn.Module:
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise ModelError(f"the model has no module {name!r}", where=keys[0]) from error
    tensors = {**module._parameters, **module._buffers}
    lacking = [key for key in keys if tensors.get(key.rpartition(".")[2]) is None]
    if lacking:
        raise ModelError(f"{type(module).__name__} has no such tensor", where=lacking[0])
    if not any(callable(getattr(module, reset, None)) for reset in _RESETS):
        raise ModelError(f"{type(module).__name__} has no reset_parameters()", where=keys[0], hint=_HINT)
    return module


def _reset_over(module: nn.Module, value: int, seed: int) -> dict[str, torch.Tensor]:
    """The module's own tensors after a reset of a copy which was filled with `value`."""
    import torch

    try:
        fresh = copy.deepcopy(module).to_empty(device="cpu")
        with torch.no_grad(), seeded(seed):
            for tensor in (*fresh.parameters(), *fresh.buffers()):
                tensor.fill_(value)
            next(getattr(fresh, reset) for reset in _RESETS if hasattr(fresh, reset))()
    except Exception as error:  # deepcopy and reset_parameters run the user's code
        raise ModelError(f"resetting a copy of {type(module).__name__} failed: {type(error).__name__}: {error}") from error
    return {name: t.detach().contiguous() for name, t in (*fresh._parameters.items(), *fresh._buffers.items()) if t is not None}
