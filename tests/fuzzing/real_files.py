"""What real writers make, as the stock from which inputs are changed and spliced: torch in both layouts and all protocols, safetensors."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

from pickle_values import Program

__all__ = ["OlderParts", "archives", "older_parts", "opcodes_of", "programs", "safetensors_files", "torch_files", "with_steady_names"]

_PROTOCOLS = (2, 2, 3, 3, 4, 5)  # torch's own reader knows 2 and 3, which come more often
# An address, as the older layout names storages; a UUID.
_UNSTEADY = re.compile(rb"(?<![0-9])[0-9]{14,15}(?![0-9])|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PICKLES = 5  # of the older layout: magic number, protocol, system, the object, the keys of its storages


@dataclass(frozen=True)
class OlderParts:
    """A file of the older layout: three pickles, the opcodes of the object, the pickle of the keys, the storages."""

    head: bytes
    root: Program
    keys: bytes
    tail: bytes


def _contents() -> dict[str, Any]:
    """What people save."""
    import torch

    torch.manual_seed(0)
    shared = torch.arange(12.0)
    table = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.arange(4, dtype=torch.int16), c=torch.tensor(True))
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(module.parameters())
    return {
        "table": table,
        "views": {"a": shared, "b": shared[3:7], "c": shared.reshape(3, 4).t(), "e": shared},
        "module": module.state_dict(),
        "parameters": {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(1).expand(3, 3)},
        "envelope": {"state_dict": table, "epoch": 3, "optimizer": optimizer.state_dict(), "names": {"x"}, "lr": 1e-3},
        "newer dtypes": {"a": torch.ones(3).to(torch.float8_e5m2), "b": torch.ones(2).to(torch.uint16), "c": torch.ones(2) * 1j},
        "sparse": {"a": torch.ones(2), "b": torch.eye(3).to_sparse(), "c": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "empty": {"a": torch.zeros(0, 2), "b": torch.tensor(1.0)},
    }


def _saved(value: Any, **options: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    # The older layout sorts storages by their addresses; here they come in the order in which they are met.
    with mock.patch.object(torch.serialization, "sorted", list, create=True):
        torch.save(value, buffer, **options)
    return buffer.getvalue()


def with_steady_names(data: bytes) -> bytes:
    """The bytes with the names which differ from run to run (addresses of storages, identities of runs) numbered in their order."""
    found: dict[bytes, bytes] = {}
    return _UNSTEADY.sub(lambda match: found.setdefault(match[0], b"%0*d" % (len(match[0]), len(found) + 1)), data)


@cache
def torch_files(*, is_older: bool) -> tuple[bytes, ...]:
    """Files of `torch.save`, in the zip layout or the older one, protocols 2 to 5."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(
            with_steady_names(_saved(value, _use_new_zipfile_serialization=not is_older, pickle_protocol=protocol))
            for value in _contents().values()
            for protocol in _PROTOCOLS
        )


@cache
def safetensors_files() -> tuple[bytes, ...]:
    """Files of `safetensors.torch.save`."""
    from safetensors.torch import save

    tables = [value for name, value in _contents().items() if name in ("table", "module", "newer dtypes", "empty")]
    return tuple(save({key: tensor.detach().clone() for key, tensor in table.items()}, {"format": "pt"}) for table in tables)


def _pickle_end(data: bytes, start: int) -> int:
    return start + max(place for _, _, place in pickletools.genops(data[start:]) if place is not None) + 1


def opcodes_of(data: bytes) -> Program:
    """The opcodes of the pickle at the start of `data`, without PROTO, FRAME and STOP."""
    places = [(opcode.code, place) for opcode, _, place in pickletools.genops(data) if place is not None]
    ends = [*(place for _, place in places[1:]), places[-1][1] + 1]
    return [data[place:end] for (code, place), end in zip(places, ends, strict=True) if code not in "\x80\x95."]


@cache
def older_parts() -> tuple[OlderParts, ...]:
    """Each of torch's older files, cut into its pickles and what follows them."""
    return tuple(map(_cut, torch_files(is_older=True)))


def _cut(data: bytes) -> OlderParts:
    ends = [0]
    for _ in range(_PICKLES):
        ends.append(_pickle_end(data, ends[-1]))
    return OlderParts(data[: ends[3]], opcodes_of(data[ends[3] :]), data[ends[4] : ends[5]], data[ends[5] :])


@cache
def programs(*, is_older: bool) -> tuple[Program, ...]:
    """The opcodes of the object in each of torch's files of a layout."""
    return tuple(parts.root for parts in older_parts()) if is_older else tuple(opcodes_of(data) for data, _ in archives())


@cache
def archives() -> tuple[tuple[bytes, dict[str, bytes]], ...]:
    """data.pkl of each of torch's zip files, and its other records by their names below the root folder."""
    found = []
    for data in torch_files(is_older=False):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            records = {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}
        found.append((records.pop("data.pkl"), records))
    return tuple(found)
