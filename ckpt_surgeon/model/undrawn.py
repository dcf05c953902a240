"""Building on the meta device without drawing random numbers: there they change nothing, and load 800 modules of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

__all__ = ["undrawn"]


@contextmanager
def undrawn() -> Iterator[None]:
    """Inside, torch's initializers and a tensor's `normal_` return a tensor on meta untouched; any other tensor they fill as ever."""
    before = {name: value for name, value in vars(init).items() if name.endswith("_") and not name.startswith("_") and callable(value)}
    vars(init).update({name: _unless_on_meta(function) for name, function in before.items()})
    try:
        with _Undrawn():
            yield
    finally:
        vars(init).update(before)


def _unless_on_meta(initialize: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(initialize)
    def initialized(*words: Any, **named: Any) -> Any:
        tensor = words[0] if words else named.get("tensor")
        return tensor if getattr(tensor, "is_meta", False) else initialize(*words, **named)

    return initialized


class _Undrawn(TorchFunctionMode):
    """Leaves out `normal_` on meta, which models call on their weights' data."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.normal_ and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
