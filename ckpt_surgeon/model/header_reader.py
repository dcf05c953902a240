"""HeaderReader: a header without weights in the role of an open checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon.errors import ModelError
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    import torch

    from ckpt_surgeon.disk import FileRange

__all__ = ["HeaderReader"]

_NO_WEIGHTS = "give a checkpoint; are source and target the wrong way round?"


class HeaderReader:
    """A header without weights: a model to be, or a Header given as a value."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def read(self, key: str) -> torch.Tensor:
        raise ModelError("there are no weights to read: a model, or a header alone, was given as the source", where=key, hint=_NO_WEIGHTS)

    def read_opaque(self, key: str) -> Any:
        raise ModelError("there are no weights to read: a model, or a header alone, was given as the source", where=key, hint=_NO_WEIGHTS)

    def span(self, key: str) -> FileRange | None:
        return None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
