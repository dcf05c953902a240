"""FORMATS: the layouts on disk, by name. A new one is a file in this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, SurgeryError
from ckpt_surgeon.formats.pending import refuse_pending
from ckpt_surgeon.formats.sniffing import HEAD_BYTES, is_distributed, is_index, is_safetensors, is_torch_legacy, is_torch_zip, refuse
from ckpt_surgeon.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ckpt_surgeon.formats.edit import Edit
    from ckpt_surgeon.formats.protocol import Keep, Reader, Writer
    from ckpt_surgeon.spec import Header

__all__ = ["DEFAULT_SHARD_SIZE", "FORMATS", "Format", "open_file", "sniff"]

# What the field's other tools use: a shard fits into memory and on a download's patience.
DEFAULT_SHARD_SIZE = 5 * 1000**3


@dataclass(frozen=True, slots=True)
class Format:
    """A layout on disk.

    matches: whether a file which starts with these bytes is of it. reader: from the open file (which the reader takes over once
    it is made) and the table picked in the envelope. writer: None where it is only read. editor: what of the open file changes when it
    gets other names in place; None where that is never possible.
    """

    matches: Callable[[bytes], bool]
    reader: Callable[[InputFile, str | None], Reader]
    writer: Callable[[str, Header, Keep, int | None], Writer] | None = None
    editor: Callable[[Reader, Header, Keep], Edit] | None = None


def _read_safetensors(file: InputFile, table: str | None) -> Reader:
    from ckpt_surgeon.formats.safetensors_reader import SafetensorsReader

    _refuse_table(file, table)
    return SafetensorsReader(file)


def _read_torch(file: InputFile, table: str | None) -> Reader:
    from ckpt_surgeon.formats.torch_reader import TorchReader

    return TorchReader(file, table)


def _read_torch_legacy(file: InputFile, table: str | None) -> Reader:
    from ckpt_surgeon.formats.torch_legacy import TorchLegacyReader

    return TorchLegacyReader(file, table)


def _read_sharded(file: InputFile, table: str | None) -> Reader:
    from ckpt_surgeon.formats.sharded_reader import ShardedReader

    _refuse_table(file, table)
    return ShardedReader(file, lambda shard: _reader(shard, None, is_shard=True))


def _read_distributed(file: InputFile, table: str | None) -> Reader:
    from ckpt_surgeon.formats.distributed_reader import DistributedReader

    return DistributedReader(file, table)


def _write_safetensors(path: str, header: Header, keep: Keep, _max_shard_size: int | None) -> Writer:
    from ckpt_surgeon.formats.safetensors_writer import SafetensorsWriter

    return SafetensorsWriter(path, header, keep.offsets)


def _write_torch(path: str, header: Header, keep: Keep, _max_shard_size: int | None) -> Writer:
    from ckpt_surgeon.formats.torch_writer import TorchWriter

    return TorchWriter(path, header, keep)


def _write_sharded(path: str, header: Header, keep: Keep, max_shard_size: int | None) -> Writer:
    from ckpt_surgeon.formats.sharded_writer import ShardedWriter

    return ShardedWriter(path, header, DEFAULT_SHARD_SIZE if max_shard_size is None else max_shard_size, keep.offsets)


def _edit_safetensors(reader: Reader, header: Header, keep: Keep) -> Edit:
    from ckpt_surgeon.formats.safetensors_edit import edit_safetensors

    return edit_safetensors(reader, header, keep)


def _edit_torch(reader: Reader, header: Header, keep: Keep) -> Edit:
    from ckpt_surgeon.formats.torch_edit import edit_torch

    return edit_torch(reader, header, keep)


def _refuse_table(file: InputFile, table: str | None) -> None:
    if table is not None:
        raise SurgeryError(f"there is no table {table!r}: this format holds one table of tensors", where=file.path, hint="leave out the #")


# In the order in which they are tried.
FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "safetensors": Format(is_safetensors, _read_safetensors, _write_safetensors, _edit_safetensors),
        "torch": Format(is_torch_zip, _read_torch, _write_torch, _edit_torch),
        "torch-legacy": Format(is_torch_legacy, _read_torch_legacy),
        "distributed": Format(is_distributed, _read_distributed),
        "sharded": Format(is_index, _read_sharded, _write_sharded),
    }
)

# Those whose one file tells of others.
_OF_SEVERAL_FILES = frozenset({"sharded", "distributed"})


def sniff(file: InputFile) -> str:
    """The name in FORMATS, by content; CorruptError which names what the file is instead, and what to do."""
    head = file.read(0, min(file.nbytes, HEAD_BYTES))
    name = next((name for name, form in FORMATS.items() if form.matches(head)), None)
    if name is None:
        refuse(file, head)
    return name


def open_file(path: str, table: str | None, *, unfinished: bool = False) -> Reader:
    """The reader of one file, by its content. unfinished: also of one whose in-place edit is not done yet.

    Raises LockedError beside such an edit's journal, and as `sniff` and the readers do.
    """
    return _reader(InputFile(path), table, unfinished=unfinished)


def _reader(file: InputFile, table: str | None, *, is_shard: bool = False, unfinished: bool = False) -> Reader:
    try:
        if not unfinished:
            refuse_pending(file.path)  # once it is open: an edit which begins now changes its version
        name = sniff(file)
        if is_shard and name in _OF_SEVERAL_FILES:
            raise CorruptError("a shard cannot be an index itself", where=file.path)
        return FORMATS[name].reader(file, table)
    except BaseException:
        file.close()
        raise
