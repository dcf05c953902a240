"""A safetensors file edited in place: its header anew in the room of the old one; no byte of a tensor moves."""

from __future__ import annotations

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.formats.carried import carried_metadata
from ckpt_surgeon.formats.edit import Change, Edit
from ckpt_surgeon.formats.protocol import Keep, Reader
from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader
from ckpt_surgeon.formats.safetensors_table import LENGTH_BYTES, header_bytes
from ckpt_surgeon.formats.safetensors_writer import check_writable
from ckpt_surgeon.spec import Header

__all__ = ["edit_safetensors"]


def edit_safetensors(reader: Reader, header: Header, keep: Keep) -> Edit:
    """The edit which gives the open file `header`, whose tensors are those of the file, each once, by `keep.moved`.

    Raises RulesError for shards, and when the new header needs more room than the old one has; SurgeryError for what
    safetensors cannot hold.
    """
    if not isinstance(reader, SafetensorsReader):
        raise RulesError("this is a checkpoint of several files, which is not edited in place", hint="write a new one: -o OUT")
    if _said(header) == _said(reader.header):
        return Edit((), reader.room.file.nbytes, reader.room.file.nbytes)
    check_writable(header)
    keys = [key for key in header.tensors if key not in header.aliases]
    # Empty tensors share their place with the one which follows.
    keys.sort(key=lambda key: (reader.span(keep.moved[key]).offset, header.tensors[key].nbytes))
    room = reader.room
    text = header_bytes({key: header.tensors[key] for key in keys}, carried_metadata(header))[LENGTH_BYTES:].rstrip(b" ")
    if len(text) > room.nbytes:
        raise RulesError(
            f"the new header takes {len(text):,} bytes, and the file has room for {room.nbytes:,}", hint="write a new file: -o OUT"
        )
    change = Change(room.offset, room.read(0, room.nbytes), text.ljust(room.nbytes))
    return Edit((change,), room.file.nbytes, room.file.nbytes)


def _said(header: Header) -> tuple[object, ...]:
    """All of a header which stands in the file."""
    return list(header.entries.items()), dict(header.aliases), dict(header.metadata), dict(header.torch_metadata)
