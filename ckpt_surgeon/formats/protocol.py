"""What a format is: the roles Reader and Writer. Where bytes lie stays private to the format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol, Self

from ckpt_surgeon.disk import FileRange
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Header, ParameterId, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Keep", "KeptParameter", "Part", "Reader", "Writer"]

Part = FileRange | bytes | bytearray | memoryview


class Reader(Protocol):
    """An open checkpoint; the header is read, the weights are not."""

    header: Header

    def read(self, key: str) -> torch.Tensor:
        """The tensor on the CPU, private to the caller and with its own memory. For an opaque entry see `read_opaque`."""
        ...

    def read_opaque(self, key: str) -> Any:
        """An opaque entry as plain Python values and tensors; UnsafeError when that would need its class."""
        ...

    def span(self, key: str) -> FileRange | None:
        """Where the bytes of a tensor lie, if they are plain, contiguous and little-endian; else None.

        With the checksum which the file states of just these bytes: whoever reads or moves them compares it, or carries it over.
        """
        ...

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...


@dataclass(frozen=True, slots=True)
class KeptParameter:
    """A parameter in a group of an optimizer, as the output is to have it.

    name: its key there (None: as the source has it). source: its id in the source, whose state it takes (None: it begins without).
    made: name in the state -> (key, spec) of each tensor which is written anew; the rest of the state stays as it is.
    """

    name: str | None
    source: ParameterId | None
    made: Mapping[str, tuple[str, TensorSpec]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Keep:
    """What of the source goes into the output beside the tensors.

    reader: the open source, whose envelope is kept (None: nothing stands around the weights, `--bare`).
    opaque: output key -> source key, for the entries which are no plain tensor.
    moved: output key -> source key, for tensors whose bytes are those of the source (so that a shared storage can stay shared).
    drops_optimizer: leave the optimizer state behind. optimizers: place of an optimizer's state (`optimizer`, `optimizer_states.0`) ->
    its groups' parameters, where they are not to be those of the source.
    checks: compare the checksums, too, of bytes which are carried over together with them.
    offsets: output key -> where in a file its bytes lie now, for tensors which only move.
    """

    reader: Reader | None = None
    opaque: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    drops_optimizer: bool = False
    optimizers: Mapping[str, Sequence[Sequence[KeptParameter]]] = field(default_factory=dict)
    checks: bool = False
    offsets: Mapping[str, int] = field(default_factory=dict)

    @property
    def made(self) -> dict[str, TensorSpec]:
        """The tensors of optimizers which are written anew, by the keys under which they come, in their order."""
        parameters = (parameter for groups in self.optimizers.values() for group in groups for parameter in group)
        return dict(pair for parameter in parameters for pair in parameter.made.values())


class Writer(Protocol):
    """A checkpoint in the making. The whole header is known before the first tensor comes."""

    nbytes: int  # the size of the complete file(s), in bytes, for the reservation of space

    def write(self, key: str, parts: Iterable[Part]) -> None:
        """Write one tensor's contiguous little-endian bytes.

        Called once for each key of the header's tensors but its aliases, in header order, then for those of
        `Keep.made`. The files of the ranges stay open until `close`: small ones may wait for what touches them.
        """
        ...

    def close(self) -> None:
        """Finish and sync the file(s); an incomplete set of keys is a ValueError."""
        ...

    def abort(self) -> None:
        """Close the files without finishing them; the publisher removes them."""
        ...
