"""format_of and create_writer: a destination's name -> the format it is written in, and the Writer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.formats.protocol import Keep, Writer
from ckpt_surgeon.formats.registry import FORMATS
from ckpt_surgeon.spec import Header

__all__ = ["create_writer", "format_of"]

_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {".safetensors": "safetensors", ".pt": "torch", ".pth": "torch", ".bin": "torch", ".ckpt": "torch"}
)

_WRITERS = {name: form.writer for name, form in FORMATS.items() if form.writer is not None}


def format_of(out: str, to: str | None) -> str:
    """The format of an output: `to` where it is given, else by the suffix of `out`; a folder, or none, is `sharded`.

    >>> format_of("flow.pth", None), format_of("flow/", None), format_of("flow.pth", "safetensors")
    ('torch', 'sharded', 'safetensors')
    """
    if to is not None:
        return _known(to)
    if out.endswith(os.sep):
        return "sharded"
    stem, suffix = os.path.splitext(os.path.basename(out))
    form = _SUFFIXES.get(suffix.lower()) if stem else None
    if form is not None and os.path.isdir(out):
        hint = "take another name, or say --to sharded"
        raise SurgeryError(f"a folder stands here, and the suffix {suffix!r} is that of a file", where=out, hint=hint)
    if not suffix or not stem or os.path.isdir(out):
        return "sharded"
    if form is None:
        allowed = f"known are {', '.join(_SUFFIXES)}, and a folder (for shards)"
        raise SurgeryError(f"the suffix {suffix!r} tells no format; {allowed}", where=out, hint="take one of them, or say --to FORMAT")
    return form


def create_writer(path: str, format: str, header: Header, keep: Keep, max_shard_size: int | None) -> Writer:  # noqa: A002
    """A new checkpoint at `path`, which must not exist yet; `max_shard_size` in bytes of tensors, for `sharded` only.

    Raises SurgeryError naming the entries which the format cannot hold, DiskError.
    """
    return _WRITERS[_known(format)](path, header, keep, max_shard_size)


def _known(name: str) -> str:
    if name not in _WRITERS:
        raise SurgeryError(f"{name!r} is no format to write; known are {', '.join(_WRITERS)}")
    return name
