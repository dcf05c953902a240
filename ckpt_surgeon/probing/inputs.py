"""What both models are run on: a shape in words, a function of the user's, or the arguments themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.model import is_spec, seeded

__all__ = ["Inputs", "inputs_of"]

_SHAPES = re.compile(r"\d{1,18}(?:x\d{1,18})*(?:,\d{1,18}(?:x\d{1,18})*)*")
_MOST_NUMBERS = 1 << 28  # a gigabyte; a larger input is a slip


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def inputs_of(given: Any, seed: int) -> Inputs:
    """`1x3x224x224` (several: `1x3x8,1x7`) -> normal numbers from the seed, in float32; `pkg.module:inputs` -> what it returns.

    A function is called under the seed. A tuple or list is the arguments, a dict the named ones, all else the one argument.
    Other types of float become float32, as the models' weights do.
    Raises ModelError for other words, too large or an empty shape, a function which fails, or gives nothing but empty tensors.
    """
    if isinstance(given, str):
        if _SHAPES.fullmatch(given):
            return Inputs(_drawn([tuple(map(int, text.split("x"))) for text in given.split(",")], seed))
        if not is_spec(given):
            raise ModelError(f"{given!r} is no input", hint="write its shape, 1x3x224x224, or pkg.module:inputs, a function which gives it")
        given = _called(given, seed)
    elif callable(given):
        with seeded(seed):
            given = given()
    given = _single(given)
    tensors = list(_tensors(given))
    if tensors and not any(tensor.numel() for tensor in tensors):
        raise ModelError("the probe's input is empty: no outputs would tell anything", hint="give one with elements")
    if isinstance(given, Mapping):
        return Inputs((), dict(given))
    return Inputs(tuple(given) if isinstance(given, tuple | list) else (given,))


def _single(value: Any) -> Any:
    """Tensors as the models are run, on the CPU and numbers in float32, in plain tuples, lists and dicts too."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
    if type(value) in (tuple, list):
        return type(value)(map(_single, value))
    return {name: _single(each) for name, each in value.items()} if type(value) is dict else value


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif type(value) in (tuple, list, dict):
        for each in value.values() if type(value) is dict else value:
            yield from _tensors(each)


def _drawn(shapes: list[tuple[int, ...]], seed: int) -> tuple[Any, ...]:
    from math import prod

    import torch

    empty = next((shape for shape in shapes if not prod(shape)), None)
    if empty is not None:
        raise ModelError(f"an input of {'x'.join(map(str, empty))} is empty: no outputs would tell anything", hint="write sizes from 1 on")
    if max(map(prod, shapes)) > _MOST_NUMBERS:
        raise ModelError(f"an input of {max(map(prod, shapes))} numbers; at most {_MOST_NUMBERS} are allowed")
    with seeded(seed):
        return tuple(torch.randn(shape, dtype=torch.float32, device="cpu") for shape in shapes)


def _called(spec: str, seed: int) -> Any:
    from ckpt_surgeon.model import called

    with seeded(seed):
        return called(spec)
