"""A torch file edited in place: another `data.pkl` at its end, and the directory anew; no storage moves."""

from __future__ import annotations

from ckpt_surgeon.errors import RulesError
from ckpt_surgeon.formats.edit import Edit
from ckpt_surgeon.formats.protocol import Keep, Reader
from ckpt_surgeon.formats.torch_archive import PICKLE, ZipStorages
from ckpt_surgeon.formats.torch_output import pickle_in_place
from ckpt_surgeon.formats.torch_reader import TorchReader
from ckpt_surgeon.formats.zip_edit import replace_record
from ckpt_surgeon.spec import Header

__all__ = ["edit_torch"]


def edit_torch(reader: Reader, header: Header, keep: Keep) -> Edit:
    """The edit which gives the open file `header`, whose entries are those of the file, in its order, by `keep`.

    Raises RulesError for shards, and for a whole pickled module, which would become a state_dict and leave its hooks and values behind.
    """
    if not isinstance(reader, TorchReader) or not isinstance(reader.graph.storages, ZipStorages):
        raise RulesError("this is a checkpoint of several files, which is not edited in place", hint="write a new one: -o OUT")
    if reader.graph.table.is_module:
        raise RulesError("the file holds a whole pickled module, which becomes a state_dict", hint="write a new file: -o OUT")
    return replace_record(reader.graph.storages.archive, PICKLE, pickle_in_place(header, keep, reader.graph))
