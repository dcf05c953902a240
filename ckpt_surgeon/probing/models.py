"""The two modules which are run, and under which keys of SOURCE the weights of its module stand."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ckpt_surgeon.comparison import fills_itself, fits
from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.keys.display import escape
from ckpt_surgeon.keys.folding import listed
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.model import build, header_of_module, seeded
from ckpt_surgeon.sources import is_factory, open_source
from ckpt_surgeon.spec import Header

__all__ = ["Models", "models_of"]


@dataclass(frozen=True, slots=True)
class Models:
    """source, target: on the CPU, in float32, copies which may be changed. names: the source module's keys -> SOURCE's keys."""

    source: nn.Module
    target: nn.Module
    names: Mapping[str, str]


def models_of(source: Any, target: Any, source_model: Any, header: Header, arguments: Mapping[str, Any], seed: int) -> Models:
    """Build both models; SOURCE's weights are loaded into `source_model`, where SOURCE is a checkpoint of header `header`.

    Raises ModelError where either is no model, where the checkpoint is not the model's, and what opening SOURCE raises.
    """
    wanted = _model(target, arguments, seed, "TARGET has no code to run", "give it as pkg.module:factory")
    if source_model is None:
        given = _model(source, arguments, seed, "SOURCE has no code to run", "name its model: --source-model pkg.module:factory")
        return Models(given, wanted, {key: key for key in header_of_module(given)})
    given = _model(source_model, arguments, seed, "the source's model is no model", "give it as pkg.module:factory")
    with open_source(source) as reader:
        return Models(given, wanted, _loaded(given, reader))


def _model(given: Any, arguments: Mapping[str, Any], seed: int, what: str, hint: str) -> nn.Module:
    if isinstance(given, nn.Module):
        model = _copied(given)
    elif isinstance(given, str | os.PathLike) and is_factory(os.fspath(given)):
        with seeded(seed):
            model = build(os.fspath(given), arguments, device="cpu")
    else:
        raise ModelError(what, hint=hint)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ModelError("it has tensors on the meta device, and cannot run", where=type(model).__name__, hint="build it on the CPU")
    return model.to("cpu").float().eval()


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # what a module keeps beside its weights is the user's own
        text = f"it cannot be copied: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ModelError(
            text, where=type(module).__name__, hint="give it as pkg.module:factory, or a module which has not run yet"
        ) from error


def _loaded(module: nn.Module, reader: Reader) -> dict[str, str]:
    """Load what the checkpoint has for the module; returns module key -> checkpoint key."""
    own = header_of_module(module)
    prefix = next((prefix for prefix in _prefixes(own, reader.header) if not _lacking(own, reader.header, prefix)), None)
    if prefix is None:
        lacking = listed([escape(key) for key in _lacking(own, reader.header, "")])
        hint = "give the model which takes SOURCE's keys as they are, or below one prefix"
        raise ModelError(f"SOURCE does not fit {type(module).__name__}: {lacking}", hint=hint)
    names = {key: prefix + key for key in own.tensors if prefix + key in reader.header.tensors}
    module.load_state_dict({key: reader.read(name) for key, name in names.items()}, strict=False)
    return names


def _prefixes(own: Header, header: Header) -> Iterator[str]:
    yield ""
    first = next(iter(own.tensors), "")
    yield from (key.removesuffix(first) for key in header.tensors if key.endswith(f".{first}"))


def _lacking(own: Header, header: Header, prefix: str) -> list[str]:
    present = {key for key in own.tensors if prefix + key in header.tensors}
    absent = [key for key in own.tensors if key not in present and not fills_itself(key, own, present)]
    return absent + [key for key in own.tensors if key in present and not fits(header.tensors[prefix + key], own.tensors[key])]
