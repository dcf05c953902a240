"""TorchReader: a checkpoint in the zip layout of `torch.save` (`.pt .pth .bin .ckpt`), read without torch."""

from __future__ import annotations

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.formats.torch_archive import unpack_archive
from ckpt_surgeon.formats.torch_checkpoint import TorchCheckpoint, Unpacked

__all__ = ["TorchReader"]


class TorchReader(TorchCheckpoint):
    """A Reader of torch's zip layout. `table`: the dotted path of the table which is meant; None where there is only one."""

    def __init__(self, file: InputFile, table: str | None = None) -> None:
        super().__init__(file, _unpack, "torch", table)


def _unpack(file: InputFile) -> Unpacked:
    root, _, storages = unpack_archive(file.whole)
    return root, storages
