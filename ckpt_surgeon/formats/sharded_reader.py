"""ShardedReader: an index file and the shards beside it, as one checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

from ckpt_surgeon import disk
from ckpt_surgeon.disk import FileRange, InputFile
from ckpt_surgeon.errors import CorruptError, DiskError, LimitError, Problem
from ckpt_surgeon.formats.carried import Carried, split_metadata
from ckpt_surgeon.formats.index_file import Index, read_index
from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.formats.shard_files import ShardFiles
from ckpt_surgeon.spec import Header

if TYPE_CHECKING:
    import torch

__all__ = ["ShardedReader"]

# More lines than this say nothing new about an index which is wrong as a whole.
_MAX_PROBLEMS = 20
# How the field's tools name the shards of one cut: stem, number, number of all, suffix.
_NUMBERED = re.compile(r"(.*)-\d+-of-(\d+)(\..*)?", re.DOTALL)
_STRAY = "take it away if it is of another checkpoint, else download or copy the index again"


class ShardedReader:
    """Open shards which agree with their index both ways; keys come shard by shard, in file order."""

    def __init__(self, file: InputFile, open_shard: Callable[[InputFile], Reader]) -> None:
        """Read the index in `file` and the header of every shard; the index is closed, the shards stay open.

        open_shard: the reader of a single file.
        Raises CorruptError when a shard is missing, holds a key which the index doesn't give it, or lacks one, or is one of
        the same cut which the index doesn't name; DiskError when
        the folder was swapped meanwhile: its shards may be of two checkpoints.
        """
        index = read_index(file)
        files = ShardFiles(file.path)
        with ExitStack() as stack:
            self._shards = {name: stack.enter_context(open_shard(files.open(name))) for name in index.shards}
            _check_bare(self._shards, files.folder)
            _check_agreement(index, {name: reader.header for name, reader in self._shards.items()}, file.path)
            _check_complete(index, files.folder)
            self.header = _joined(index, [reader.header for reader in self._shards.values()], file.path)
            if not file.is_in_place():
                raise DiskError("it was replaced while it was opened", where=file.path, hint="try again once nothing writes it")
            self._stack = stack.pop_all()
        self._weight_map = index.weight_map
        self.paths = (file.path, *(os.path.join(files.folder, name) for name in self._shards))
        file.close()

    def read(self, key: str) -> torch.Tensor:
        """The tensor on the CPU, with its own memory."""
        name = self.header.canonical(key)
        return self._shard(name).read(name)

    def read_opaque(self, key: str) -> Any:
        """An opaque entry of a torch shard as plain values; KeyError where there is none."""
        return self._shard(key).read_opaque(key)

    def span(self, key: str) -> FileRange | None:
        """Where the bytes of a tensor lie, if they are plain; else None."""
        name = self.header.canonical(key)
        return self._shard(name).span(name)

    def close(self) -> None:
        """Close the shards; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _shard(self, key: str) -> Reader:
        return self._shards[self._weight_map[key]]


def _check_complete(index: Index, folder: str) -> None:
    """CorruptError when a shard lies there, by its name one of the same cut, which the index does not name."""
    named = index.shards
    cuts = {match.groups() for name in named if (match := _NUMBERED.fullmatch(name))}
    with disk.reported(folder):
        names = disk.system.listdir(folder or os.curdir) if cuts else []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if name not in named and match and match.groups() in cuts:
            raise CorruptError(f"the index does not name the shard {name!r}, which is one of the same cut", where=folder, hint=_STRAY)


def _check_bare(shards: Mapping[str, Reader], folder: str) -> None:
    for name, reader in shards.items():
        if reader.header.envelope.path:
            raise CorruptError("a shard holds its tensors bare; this one has an envelope around them", where=os.path.join(folder, name))


def _check_agreement(index: Index, headers: Mapping[str, Header], path: str) -> None:
    problems = list(islice(_disagreements(index, headers), _MAX_PROBLEMS))
    if problems:
        raise CorruptError(replace(problem, where=f"{path}: {problem.where}") for problem in problems)


def _disagreements(index: Index, headers: Mapping[str, Header]) -> Iterator[Problem]:
    """Each key which lies elsewhere than its index says."""
    holders: dict[str, str] = {}
    for name, header in headers.items():
        for key in header.entries:
            if key in holders:
                yield Problem(f"it stands in two shards, {holders[key]} and {name}", where=key)
            elif key not in index.weight_map:
                yield Problem(f"{name} holds it, the index does not name it", where=key)
            elif index.weight_map[key] != name:
                yield Problem(f"{name} holds it, the index says {index.weight_map[key]}", where=key)
            holders.setdefault(key, name)
    for key, name in index.weight_map.items():
        if key not in holders:
            yield Problem(f"the index says {name}, no shard holds it", where=key, hint="the index and the shards are not of one checkpoint")


def _joined(index: Index, headers: list[Header], path: str) -> Header:
    """One header for all shards; what several shards say of the file as a whole must be the same."""
    formats = sorted({header.format for header in headers})
    if len(formats) > 1:
        raise CorruptError(f"the shards are of several formats: {', '.join(formats)}", where=path)
    try:
        carried = split_metadata(index.metadata)
        entries = {key: entry for header in headers for key, entry in header.entries.items()}
        entries = carried.with_ties(entries)
    except (CorruptError, LimitError) as error:
        raise error.located(path) from error
    return Header(
        entries,
        kinds={key: kind for header in headers for key, kind in header.kinds.items()},
        aliases={**{alias: key for header in headers for alias, key in header.aliases.items()}, **carried.ties},
        metadata=_text_metadata(carried, headers),
        torch_metadata={**{name: item for header in headers for name, item in header.torch_metadata.items()}, **carried.torch_metadata},
        format=formats[0] if formats else "safetensors",
    )


def _text_metadata(carried: Carried, headers: list[Header]) -> dict[str, str]:
    """The text on which all shards agree, and the index's own, which wins."""
    shared = set.intersection(*(set(header.metadata.items()) for header in headers)) if headers else set()
    return {**dict(sorted(shared)), **carried.user}
