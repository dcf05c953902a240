"""Give a model another number of outputs: one linear or convolutional layer replaced by a new one like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ckpt_surgeon.errors import ModelError, RulesError
from ckpt_surgeon.model import seeded

if TYPE_CHECKING:
    from torch import nn

__all__ = ["outputs_of", "replace_head"]

_CONV_SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_state_dict_hooks",
)


def replace_head(
    model: nn.Module,
    name: str,
    out_features: int,
    *,
    seed: int | None = None,
    init: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """Replace the layer `name` (dotted) by a new one with `out_features` outputs and the same other settings.

    The layer is an nn.Linear or a convolution; inputs, bias, kernel, dtype, device and mode stay. Its weights are new:
    drawn on the CPU from `seed` (None: torch's own random numbers), then given to `init`, if there is one.
    A layer which stands under several names is replaced under each. Do it before `load`, so that the outcome knows it.

    Returns the new layer. Raises RulesError for a name or a size which does not fit, ModelError for a layer whose kind,
    hooks or ties would be lost.
    """
    old = _found(model, name)
    _check_size(out_features, getattr(old, "groups", 1), name)
    _check_plain(model, old, name)
    with seeded(seed):
        new = _like(old, out_features)
        if init is not None:
            init(new)
    weight: Any = old.weight
    new.to(device=weight.device, dtype=weight.dtype).train(old.training)
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, new)
    return new


def outputs_of(model: nn.Module, name: str) -> int:
    """How many outputs the layer `name` has. Raises RulesError and ModelError as `replace_head` does."""
    layer = _found(model, name)
    _check_kind(layer, name)
    found: Any = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    return int(found)


def _found(model: nn.Module, name: str) -> nn.Module:
    if not name:
        raise RulesError("the model itself is no layer of it", hint="give the dotted name of a layer: `fc`, `backbone.head`")
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        layers = [path for path, module in model.named_modules() if _settings(module) is not None]
        hint = f"its last linear or convolutional layers are {', '.join(layers[-3:])}" if layers else "it has no linear layer"
        raise RulesError(f"the model has no layer {name!r}", hint=hint) from error


def _check_size(out_features: int, groups: int, name: str) -> None:
    if isinstance(out_features, bool) or not isinstance(out_features, int) or out_features < 1:
        raise RulesError(f"{name}: the number of outputs is a whole number of at least 1, found {out_features!r}")
    if out_features % groups:
        raise RulesError(f"{name}: {out_features} outputs do not divide into its {groups} groups", hint=f"give a multiple of {groups}")


def _check_kind(layer: nn.Module, name: str) -> None:
    if _settings(layer) is None:
        kind = type(layer).__name__
        raise ModelError(
            f"{name} is a {kind}, not a plain nn.Linear or convolution", hint="replace it by hand, or name the layer inside it"
        )


def _check_plain(model: nn.Module, layer: nn.Module, name: str) -> None:
    if _settings(layer) is None:
        kind = type(layer).__name__
        raise ModelError(
            f"{name} is a {kind}, not a plain nn.Linear or convolution", hint="replace it by hand, or name the layer inside it"
        )
    if any(getattr(layer, hooks) for hooks in _HOOKS):
        raise ModelError(f"{name} has hooks, which would be lost", hint="remove them, replace the layer, and register them again")
    own = {id(parameter) for parameter in layer.parameters()}
    inside = {id(module) for module in layer.modules()}
    for path, module in model.named_modules():
        tied = [leaf for leaf, tensor in module._parameters.items() if id(tensor) in own and id(module) not in inside]
        if tied:
            hint = "untie them first, if the new layer is to have weights of its own"
            raise ModelError(f"{name} shares its weights with {path}.{tied[0]}, and would not any more", hint=hint)


def _settings(layer: nn.Module) -> dict[str, Any] | None:
    """The arguments of the layer's class but for its outputs; None for a class which is not exactly one of torch's."""
    from torch import nn

    if type(layer) is nn.Linear:
        return {"in_features": layer.in_features}
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if type(layer) not in (*convolutions, *transposed):
        return None
    extra = ("output_padding",) if type(layer) in transposed else ()
    return {"in_channels": layer.in_channels} | {name: getattr(layer, name) for name in (*_CONV_SETTINGS, *extra)}


def _like(layer: nn.Module, outputs: int) -> nn.Module:
    import torch

    size = "out_features" if isinstance(layer, torch.nn.Linear) else "out_channels"
    settings = {**(_settings(layer) or {}), size: outputs, "bias": layer.bias is not None}
    # Drawn in float32 on the CPU, so that a seed gives the same values whatever the model's device and dtype.
    new: nn.Module = type(layer)(**settings, device="cpu", dtype=torch.float32)
    return new
