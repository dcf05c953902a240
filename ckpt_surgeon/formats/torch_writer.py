"""TorchWriter: a checkpoint in torch's zip layout, written from start to end, the same bytes for the same header and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ckpt_surgeon.errors import UnsafeError
from ckpt_surgeon.formats.protocol import Keep, Part
from ckpt_surgeon.formats.torch_bytes import Storages, swapped
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint
from ckpt_surgeon.formats.torch_output import StoragePart, output_of
from ckpt_surgeon.formats.zip_writer import ZipLayout, ZipWriter
from ckpt_surgeon.output_file import OutputFile
from ckpt_surgeon.spec import Header

__all__ = ["TorchWriter"]

_VERSION: Final = b"3\n"
# What torch's own writer says of its layout, before the storages.
_PREAMBLE: Final = ((".format_version", b"1"), (".storage_alignment", b"64"), ("byteorder", b"little"))


class TorchWriter:
    """A `.pt` file in the making. With a torch source in `keep` its object graph stays, around the new table."""

    def __init__(self, path: str, header: Header, keep: Keep) -> None:
        """Make the file, reserve its space, and write the pickle.

        Raises UnsafeError for opaque entries without a torch source, before anything is made; DiskError.
        """
        output = output_of(header, keep)
        self._specs = {key: spec for key, spec in header.tensors.items() if key not in header.aliases} | keep.made
        self._waiting = iter(self._specs)
        self._source: Storages | None = keep.reader.graph.storages if isinstance(keep.reader, TorchCheckpoint) else None
        self._records = _in_order(output.storages, list(self._specs))
        self._next = 0
        layout = ZipLayout(
            [
                ("data.pkl", len(output.pickle)),
                *((name, len(text)) for name, text in _PREAMBLE),
                *((f"data/{number}", self._nbytes(origin)) for number, origin in self._records),
                ("version", len(_VERSION)),
            ]
        )
        self.nbytes = layout.nbytes
        self._file = OutputFile(path)
        try:
            self._file.reserve(self.nbytes)
            self._archive = ZipWriter(self._file, layout, checks=keep.checks)
            for text in (output.pickle, *(text for _, text in _PREAMBLE)):
                self._archive.write([text])
        except BaseException:
            self._file.abandon()
            raise

    def write(self, key: str, parts: Iterable[Part]) -> None:
        """The bytes of the next tensor in header order; ValueError for another key or another number of bytes."""
        expected = next(self._waiting, None)
        if key != expected:
            raise ValueError(f"{key!r} was written where {expected!r} is due")
        self._copy_storages()
        self._archive.write(parts)
        self._next += 1

    def close(self) -> None:
        """Copy what is left of the source, finish, sync and close the file; ValueError when a tensor is still due."""
        due = next(self._waiting, None)
        if due is not None:
            raise ValueError(f"{due!r} was never written")
        try:
            self._copy_storages()
            self._archive.write([_VERSION])
            self._archive.finish()
            self._file.sync()
        finally:
            self._file.close()

    def abort(self) -> None:
        """Close the file without finishing it."""
        self._file.abandon()

    def _nbytes(self, origin: str | StoragePart) -> int:
        return self._specs[origin].nbytes if isinstance(origin, str) else origin.nbytes

    def _copy_storages(self) -> None:
        """Copy the source's storages which stand before the next tensor's, or the end."""
        while self._next < len(self._records):
            origin = self._records[self._next][1]
            if isinstance(origin, str):
                break
            self._archive.write([self._raw(origin)])
            self._next += 1

    def _raw(self, origin: StoragePart) -> Part:
        assert self._source is not None  # where there is no source no part of one is due
        is_ordered = self._source.is_little or origin.width == 1
        span = self._source.span(origin.key, origin.offset, origin.nbytes) if is_ordered else None
        if span is not None:
            return span
        data = self._source.read(origin.key, origin.offset, origin.nbytes)
        if self._source.is_little:
            return data
        if not origin.width:
            raise UnsafeError(f"storage {origin.key!r} of a big-endian file has no type: its bytes cannot be put in order")
        return swapped(data, origin.width)


def _in_order(storages: Sequence[str | StoragePart], keys: Sequence[str]) -> list[tuple[int, str | StoragePart]]:
    """The storages with their numbers, in the order in which they can be written.

    By number, as torch has it, where the tensors come in that order; else a copied storage comes before the next tensor of a higher number.
    """
    number_of = {origin: number for number, origin in enumerate(storages) if isinstance(origin, str)}
    copied = [(number, origin) for number, origin in enumerate(storages) if not isinstance(origin, str)]
    return list(_merged(copied, [(number_of[key], key) for key in keys]))


def _merged(copied: list[tuple[int, StoragePart]], written: list[tuple[int, str]]) -> Iterator[tuple[int, str | StoragePart]]:
    position = 0
    for number, key in written:
        while position < len(copied) and copied[position][0] < number:
            yield copied[position]
            position += 1
        yield number, key
    yield from copied[position:]
