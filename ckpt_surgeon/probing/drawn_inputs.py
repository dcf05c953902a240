"""Inputs which two models take, drawn for their first layers: token ids, images, features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import islice
from math import isqrt
from typing import Any

import torch
from torch import nn

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.model import seeded
from ckpt_surgeon.probing.inputs import Inputs, inputs_of
from ckpt_surgeon.probing.models import Models
from ckpt_surgeon.probing.running import Trace, traced

__all__ = ["Fitted", "fitted", "given_inputs"]

_FIRST = 4  # layers which an input may be for: some model its last ones before its first
_BATCH, _TOKENS = 2, 8
_MOST_TOLD = 6  # of what was tried in vain
_WORDS = 100  # ids below this are in every vocabulary
_EXTRA = (1, 0, 2, 5)  # tokens which a table of positions has beside those of a square grid: class, distillation, registers
_USUAL = (64, 224, 32, 256, 384, 512, 128, 299, 96, 336, 448, 518, 1024)  # pixels
_LONG = (64, 512, 4096, 16000)  # samples of a signal
_CLIPS = ((8, 64), (16, 112), (16, 224))  # frames, pixels
_HINT = "give one: --probe-input 1x3x224x224, or pkg.module:inputs, a function which returns the arguments"

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Inputs, and the runs which showed that both models take them. text: what they are; empty for those which were given."""

    text: str
    inputs: Inputs
    traces: tuple[Trace, Trace]


def fitted(models: Models, seed: int) -> Fitted:
    """The first inputs which both models run on. Raises ModelError where none is found, with what was tried."""
    tried: dict[str, str] = {}
    count = _count(models.source)
    for shape, words in dict.fromkeys(_shapes(models.source)):
        text = ",".join(["x".join(map(str, shape))] * count) + (" token ids" if words else "")
        try:
            return _taken(models, Inputs(_drawn([shape] * count, words, seed)), seed, text)
        except ModelError as error:
            tried[text] = error.problems[0].what
    if not tried:
        raise ModelError("no layer of the source's model tells what input it takes", hint=_HINT)
    last = list(tried.values())[-1]
    raise ModelError(f"no input was found which both models take; tried {_in_short(list(tried))}; the last time {last}", hint=_HINT)


def given_inputs(models: Models, given: Any, seed: int) -> Fitted:
    """The inputs which `inputs_of` makes of what is given. Raises ModelError where a model does not take them."""
    return _taken(models, inputs_of(given, seed), seed)


def _taken(models: Models, inputs: Inputs, seed: int, text: str = "") -> Fitted:
    first, second = (traced(model, inputs, seed, given=False, made=False) for model in (models.source, models.target))
    return Fitted(text, inputs, (first, second))


def _count(model: nn.Module) -> int:
    """How many arguments the model cannot do without."""
    try:
        names = signature(model.forward).parameters.values()
    except (TypeError, ValueError):  # some forwards are no Python
        return 1
    return max(1, sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty for each in names))


def _in_short(texts: list[str]) -> str:
    more = len(texts) - _MOST_TOLD
    return ", ".join(texts[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


def _drawn(shapes: Sequence[Shape], words: int, seed: int) -> tuple[torch.Tensor, ...]:
    with seeded(seed):
        if words:
            return tuple(torch.randint(0, words, shape, device="cpu") for shape in shapes)
        return tuple(torch.randn(shape, dtype=torch.float32, device="cpu") for shape in shapes)


def _shapes(model: nn.Module) -> Iterator[tuple[Shape, int]]:
    """Shapes which the first layers take, and for token ids how many there are; else 0."""
    for layer in islice((part for part in model.modules() if isinstance(part, _KINDS)), _FIRST):
        if isinstance(layer, nn.Embedding):
            yield (_BATCH, _TOKENS), min(layer.num_embeddings, _WORDS)
        elif isinstance(layer, nn.Linear):
            yield from (((*sizes, layer.in_features), 0) for sizes in ((_BATCH, _TOKENS), (_BATCH,), (_BATCH, _TOKENS, _TOKENS)))
        elif isinstance(layer, nn.Conv1d):
            yield from (((_BATCH, layer.in_channels, size), 0) for size in _LONG)
        elif isinstance(layer, nn.Conv2d):
            yield from (((1, layer.in_channels, size, size), 0) for size in (*_pixels(model, layer.stride[0]), *_USUAL))
        elif isinstance(layer, nn.Conv3d):
            yield from (((1, layer.in_channels, frames, size, size), 0) for frames, size in _CLIPS)


_KINDS = (nn.Embedding, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _pixels(model: nn.Module, patch: int) -> Iterator[int]:
    """The sizes of images of whose patches tables in the model hold one row each, beside a few more."""
    tables = [tensor.shape[-2] for name, tensor in model.named_parameters() if tensor.dim() in (2, 3) and not name.endswith("weight")]
    tables += [part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)]
    for rows in dict.fromkeys(tables):
        grids = (isqrt(rows - extra) for extra in _EXTRA if rows > extra and isqrt(rows - extra) ** 2 == rows - extra)
        yield from (grid * patch for grid in grids if grid > 1)
