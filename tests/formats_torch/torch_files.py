"""Small torch files for these tests: real ones by torch, odd and bad ones by hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.formats.pickle_nodes import Call, Dict, Global, Node, Persistent
from ckpt_surgeon.formats.pickle_writer import write_pickle
from ckpt_surgeon.formats.protocol import Keep
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint
from ckpt_surgeon.formats.torch_legacy import TorchLegacyReader
from ckpt_surgeon.formats.torch_reader import TorchReader
from ckpt_surgeon.formats.torch_writer import TorchWriter
from ckpt_surgeon.spec import Header


def saved(folder: Path, value: Any, name: str = "source.pt") -> Path:
    """`value` as `torch.save` writes it."""
    torch.save(value, folder / name)
    return folder / name


def saved_legacy(folder: Path, value: Any, name: str = "legacy.pt") -> Path:
    """`value` in the layout of torch before 1.6."""
    torch.save(value, folder / name, _use_new_zipfile_serialization=False)
    return folder / name


def opened(path: Path, table: str | None = None) -> TorchReader:
    return TorchReader(InputFile(str(path)), table)


def opened_legacy(path: Path, table: str | None = None) -> TorchLegacyReader:
    return TorchLegacyReader(InputFile(str(path)), table)


def pickle_of(value: Any) -> bytes:
    """The data.pkl which `torch.save` writes for `value`."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def pickle_in(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def packed(folder: Path, records: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, name: str = "made.pt") -> Path:
    """A zip archive of these records, by their full names, made by Python."""
    with zipfile.ZipFile(folder / name, "w", method) as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    return folder / name


def checkpoint(folder: Path, root: Node, storages: Mapping[str, bytes] | None = None, **more: Any) -> Path:
    """A torch file with `root` as its object graph and these storages."""
    records = {"a/data.pkl": write_pickle(root), **{f"a/data/{key}": data for key, data in (storages or {}).items()}}
    order = more.pop("byteorder", None)
    return packed(folder, records | ({"a/byteorder": order} if order is not None else {}), **more)


def storage_node(
    key: Any = "0", owner: str = "FloatStorage", numel: Any = 6, *, module: str = "torch", location: Any = "cpu"
) -> Persistent:
    return Persistent(("storage", Global(module, owner), key, location, numel))


def tensor_node(
    storage: Node = None, offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1), *more: Any, function: str = "_rebuild_tensor_v2"
) -> Call:
    """The call of a tensor; `more` comes after `requires_grad` and the hooks."""
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", function), (storage or storage_node(), offset, size, stride, False, hooks, *more))


def table_node(**entries: Node) -> Dict:
    return Dict(list(entries.items()))


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of the contiguous tensor."""
    if not tensor.numel():
        return b""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    # Sizes of 1 may have any stride, which `view` minds.
    flat = plain.as_strided((plain.numel(),), (1,))
    return bytes(flat.view(torch.uint8).numpy().tobytes())


def kept(reader: TorchCheckpoint, **more: Any) -> Keep:
    """All of the source: its envelope, and every entry under its own name."""
    header = reader.header
    moved = {key: key for key in header.tensors if key not in header.aliases}
    return Keep(**{"reader": reader, "opaque": {key: key for key in header.opaque}, "moved": moved, **more})


def converted(reader: TorchCheckpoint, path: Path, header: Header | None = None, keep: Keep | None = None) -> Path:
    """The output of a TorchWriter which is given every tensor's bytes from the source."""
    header, keep = header or reader.header, keep or kept(reader)
    writer = TorchWriter(str(path), header, keep)
    for key in header.tensors:
        if key not in header.aliases:
            source = keep.moved.get(key, key)
            writer.write(key, [reader.span(source) or raw_bytes(reader.read(source))])
    writer.close()
    assert path.stat().st_size == writer.nbytes
    return path


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """The same shape, dtype and bytes."""
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert raw_bytes(found) == raw_bytes(wanted)
