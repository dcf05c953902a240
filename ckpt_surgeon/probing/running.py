"""One run of a module: its outputs, and which of its parts were called, in which order, with what."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.model.seeding import seeded
from ckpt_surgeon.probing.inputs import Inputs
from ckpt_surgeon.probing.likeness import Moments, moments, tensors_of

__all__ = ["Call", "Trace", "slow_attention", "traced"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a part: its name in the module, and what it was given."""

    name: str
    given: tuple[Moments, ...]


@dataclass(frozen=True)
class Trace:
    """calls: in the order in which they began. made: what each call gave back. outputs: the module's own."""

    calls: tuple[Call, ...]
    made: tuple[Moments, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def first_calls(self) -> dict[str, int]:
        """Each part which was called -> the place of its first call."""
        return {call.name: place for place, call in reversed([*enumerate(self.calls)])}


def traced(module: nn.Module, inputs: Inputs, seed: int, *, given: bool = True, made: bool = True) -> Trace:
    """Run the module in evaluation mode, without gradients, its random numbers drawn from the seed.

    given, made: look at what its parts are given and give; that takes about as long as the run. Without, the order alone is told.
    Raises ModelError when its own code fails.
    """
    seen = _Seen(given, made)
    args, kwargs = copy.deepcopy((inputs.args, dict(inputs.kwargs)))
    with _hooked(module, seen), torch.no_grad(), slow_attention(), seeded(seed), contextlib.redirect_stdout(sys.stderr):
        try:
            outputs = tensors_of(module.eval()(*args, **kwargs))
        except (Exception, SystemExit) as error:  # forward is the user's code
            text = _words(error)
            hint = "give inputs which both models take: --probe-input 1x3x224x224, or pkg.module:inputs for token ids and masks"
            raise ModelError(f"{type(module).__name__} failed on the probe's inputs: {type(error).__name__}: {text}", hint=hint) from error
    return Trace(tuple(seen.calls), tuple(seen.results), tuple(tensor.detach().clone() for tensor in outputs))


def _words(error: BaseException) -> str:
    """What an error of the user's says, in one line; it may fail at that, too."""
    try:
        return " ".join(str(error).split())[:300]
    except Exception:  # noqa: BLE001 - its own code, once more
        return "it does not say why"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What hooks see of a run."""

    given: bool
    made: bool
    calls: list[Call] = field(default_factory=list)
    results: list[Moments] = field(default_factory=list)

    def before(self, name: str, _: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        found = tensors_of((args, kwargs)) if self.given else []
        self.calls.append(Call(name, tuple(map(moments, found))))

    def after(self, _: nn.Module, args: Sequence[Any], output: Any) -> None:
        self.results.extend(map(moments, tensors_of(output)))


@contextmanager
def _hooked(module: nn.Module, seen: _Seen) -> Iterator[None]:
    with ExitStack() as stack:
        for name, part in module.named_modules():
            stack.callback(part.register_forward_pre_hook(partial(seen.before, name), with_kwargs=True).remove)
            if seen.made:
                stack.callback(part.register_forward_hook(seen.after).remove)
        yield


@contextmanager
def slow_attention() -> Iterator[None]:
    """torch's fused attention calls no parts: nothing of it would be seen."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
