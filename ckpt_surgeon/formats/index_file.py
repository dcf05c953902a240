"""An index file (`model.safetensors.index.json`): which shard holds which key. Strictly read, and written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckpt_surgeon import disk
from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.strict_json import parse_json

__all__ = ["MAX_INDEX_BYTES", "Index", "index_bytes", "is_plain_name", "read_index", "shard_path"]

# An index names each key once; a safetensors header, which says more of each, may have 100 MB.
MAX_INDEX_BYTES = 100_000_000
# Sums which a writer computes anew and a surgery makes stale.
_COMPUTED = ("total_size", "total_parameters")


@dataclass(frozen=True, slots=True)
class Index:
    """`weight_map`: key -> plain name of a shard. `metadata`: its text metadata, sums left out."""

    weight_map: Mapping[str, str]
    metadata: Mapping[str, str]

    @property
    def shards(self) -> dict[str, list[str]]:
        """Shard name -> its keys; shards in the order of their names."""
        found: dict[str, list[str]] = {name: [] for name in sorted(set(self.weight_map.values()))}
        for key, name in self.weight_map.items():
            found[name].append(key)
        return found


def read_index(file: InputFile) -> Index:
    """The index in an open file; CorruptError for whatever is not as it should be, LimitError over 100 MB."""
    if file.nbytes > MAX_INDEX_BYTES:
        raise LimitError(f"the index has {file.nbytes} bytes; at most {MAX_INDEX_BYTES} are read", where=file.path)
    try:
        return _index(parse_json(file.read(0, file.nbytes), "the index"))
    except CorruptError as error:
        raise error.located(file.path) from error


def shard_path(folder: str, name: str) -> str:
    """The path of a shard; CorruptError when its name is a link which leads out of the folder.

    One way out is honest: the cache of the Hugging Face hub, where `snapshots/REVISION/NAME` links to `blobs/HASH`.
    """
    path = os.path.join(folder, name)
    home = os.path.realpath(folder)
    allowed = [home]
    if os.path.basename(os.path.dirname(home)) == "snapshots":
        allowed.append(os.path.join(os.path.dirname(os.path.dirname(home)), "blobs"))
    if os.path.dirname(os.path.realpath(path)) not in allowed:
        raise CorruptError("the shard is a link which leads out of its folder", where=path)
    try:
        disk.system.stat(path)
    except FileNotFoundError as error:
        hint = "download or copy the missing shard into the folder"
        raise CorruptError(f"the shard {name!r}, which the index names, is not there", where=folder, hint=hint) from error
    except OSError as error:
        raise disk.disk_error(error, path) from error
    return path


def index_bytes(weight_map: Mapping[str, str], metadata: Mapping[str, Any]) -> bytes:
    """The text of an index file."""
    value = {"metadata": dict(metadata), "weight_map": dict(weight_map)}
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode("utf-8")


def _index(value: Any) -> Index:
    if not isinstance(value, dict) or "weight_map" not in value:
        raise CorruptError("the JSON is no index of shards: it has no weight_map")
    weight_map, metadata = value["weight_map"], value.get("metadata") or {}
    if not isinstance(weight_map, dict) or not isinstance(metadata, dict):
        raise CorruptError("the index's weight_map and metadata are no tables")
    for key, name in weight_map.items():
        if not is_plain_name(name):
            raise CorruptError(f"{key!r} is said to lie in {name!r}, which is no plain file name", hint="shards lie beside their index")
    texts = {key: item if isinstance(item, str) else json.dumps(item) for key, item in metadata.items() if key not in _COMPUTED}
    return Index(weight_map, texts)


def is_plain_name(name: Any) -> bool:
    """Whether this is the name of a file in the folder in which one looks, and nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}
