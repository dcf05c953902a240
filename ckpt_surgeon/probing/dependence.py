"""On which parts of a model its outputs depend: gradients find those which seem idle, and runs with these shaken prove it."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.model.seeding import seeded
from ckpt_surgeon.probing.inputs import Inputs
from ckpt_surgeon.probing.likeness import OTHER, tensors_of
from ckpt_surgeon.probing.running import slow_attention

__all__ = ["Idle", "idle_parts", "parts_of"]

_MOST_RUNS = 32
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Idle:
    """parts: on which the outputs do not depend. untried: for which there were not runs enough to tell."""

    parts: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.parts or self.untried)


def parts_of(module: nn.Module, keys: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The parts to which keys of parameters belong -> these keys; what stands beside parts of its own is one by itself."""
    modules = dict(module.named_modules())
    parameters = {key for key, _ in module.named_parameters(remove_duplicate=False)}
    found: dict[str, list[str]] = {}
    for key in keys:
        owner = key.rpartition(".")[0]
        if key in parameters:
            is_leaf = owner in modules and not any(True for _ in modules[owner].children())
            found.setdefault(owner if is_leaf else key, []).append(key)
    return {part: tuple(own) for part, own in found.items()}


def idle_parts(
    module: nn.Module, parts: dict[str, tuple[str, ...]], inputs: Inputs, seed: int, is_same: Callable[[Sequence[str]], bool]
) -> Idle:
    """Those on which the outputs do not depend.

    is_same: whether the outputs stay with these keys shaken. A part's shift may be idle (softmax takes that of keys away) where its
    matrix is not: it goes with its part.
    """
    weights = _weights(module, inputs, seed)
    seeming = [part for part, keys in parts.items() if weights is None or all(weights.get(key, 0.0) < OTHER for key in keys)]
    idle: list[str] = []
    waiting = [seeming] if seeming else []
    for _ in range(_MOST_RUNS):
        if not waiting:
            break
        some = waiting.pop(0)
        if is_same([key for part in some for key in parts[part]]):
            idle += some
        elif len(some) > 1:
            waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
    untried = {part for some in waiting for part in some}
    return Idle(tuple(part for part in parts if part in set(idle)), tuple(part for part in parts if part in untried))


def _weights(module: nn.Module, inputs: Inputs, seed: int) -> dict[str, float] | None:
    """Key of a parameter -> how much of the outputs changes with it, to the first order; None where gradients cannot be taken."""
    parameters = {key: each for key, each in module.named_parameters(remove_duplicate=False) if each.is_floating_point()}
    before = {key: each.requires_grad for key, each in parameters.items()}
    args, kwargs = copy.deepcopy((inputs.args, dict(inputs.kwargs)))
    try:
        for each in parameters.values():
            each.requires_grad_(True)
        with torch.enable_grad(), slow_attention(), seeded(seed), contextlib.redirect_stdout(sys.stderr):
            outputs = [each for each in tensors_of(module.eval()(*args, **kwargs)) if each.requires_grad]
            size = torch.stack([each.detach().float().norm() for each in outputs]).norm()
            told = torch.stack([(each.float() * torch.randn(each.shape)).sum() for each in outputs]).sum()
            found = torch.autograd.grad(told, list(parameters.values()), allow_unused=True)
    except Exception:  # noqa: BLE001 - forward is the user's code, and may not be differentiable
        return None
    finally:
        for key, each in parameters.items():
            each.requires_grad_(before[key])
    sizes = {key: float(each.detach().float().square().mean().sqrt()) for key, each in parameters.items()}
    return {
        key: 0.0 if each is None else float(each.norm()) * sizes[key] / max(float(size), _LEAST)
        for key, each in zip(parameters, found, strict=True)
    }
