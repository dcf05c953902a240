"""SafetensorsReader: a `.safetensors` file, header first, without the safetensors library and without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError, LimitError, UnsafeError
from ckpt_surgeon.formats.carried import split_metadata
from ckpt_surgeon.formats.safetensors_table import LENGTH_BYTES, MAX_HEADER_BYTES, Table, parse_table
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    import torch

__all__ = ["SafetensorsReader"]


class SafetensorsReader:
    """An open safetensors file. Ties which we wrote into its metadata are entries of the header again."""

    def __init__(self, file: InputFile) -> None:
        """Read and check the header; the file stays the caller's until this succeeds.

        Raises CorruptError for whatever is not exactly as it should be, LimitError for a header over 100 MB.
        """
        try:
            header_end, table = _read_table(file)
            carried = split_metadata(table.metadata)
            entries = carried.with_ties(table.entries)
        except (CorruptError, LimitError) as error:
            raise _of_file(error, file.path) from error
        self.paths = (file.path,)
        self.header = Header(
            entries, aliases=carried.ties, metadata=carried.user, torch_metadata=carried.torch_metadata, format="safetensors"
        )
        self.room = FileRange(file, LENGTH_BYTES, header_end - LENGTH_BYTES)  # of the header's JSON text
        self._file = file
        self._header_end, self._offsets = header_end, table.offsets

    def span(self, key: str) -> FileRange:
        """Where the bytes of a tensor lie; KeyError for an unknown key, and for an opaque entry."""
        return FileRange(self._file, self._header_end + self._offsets[self.header.canonical(key)], self.header.tensors[key].nbytes)

    def read(self, key: str) -> torch.Tensor:
        """The tensor on the CPU, with its own memory."""
        import torch

        spec, span = self.header.tensors[key], self.span(key)
        dtype = getattr(torch, spec.dtype.name)
        if not span.nbytes:
            return torch.empty(spec.shape, dtype=dtype)
        return torch.frombuffer(self._file.read_buffer(span.offset, span.nbytes), dtype=dtype).reshape(spec.shape)

    def read_opaque(self, key: str) -> NoReturn:
        """UnsafeError: what is opaque here is of a dtype which torch lacks. KeyError for a key which is no opaque entry."""
        raise UnsafeError(f"{self.header.opaque[key]}: it cannot be read as a tensor", where=f"{self._file.path}: {key}")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def _read_table(file: InputFile) -> tuple[int, Table]:
    """The offset of the first tensor's bytes in the file, and the table."""
    if file.nbytes < LENGTH_BYTES:
        raise CorruptError(f"the file has {file.nbytes} bytes, too few for a safetensors header")
    length = int.from_bytes(file.read(0, LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise LimitError(f"the safetensors header claims {length} bytes; at most {MAX_HEADER_BYTES} are read")
    end = LENGTH_BYTES + length
    if end > file.nbytes:
        raise CorruptError(
            f"the file ends at byte {file.nbytes}, {end - file.nbytes} bytes early, inside its header",
            hint="the file is cut; download or copy it again",
        )
    return end, parse_table(file.read(LENGTH_BYTES, length), file.nbytes - end)


def _of_file(error: CorruptError | LimitError, path: str) -> CorruptError | LimitError:
    """The same error with the file's path before the key where there is one."""
    return type(error)(replace(problem, where=f"{path}: {problem.where}" if problem.where else path) for problem in error.problems)
