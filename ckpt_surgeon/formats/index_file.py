"""An index file (`model.safetensors.index.json`): which shard holds which key. Strictly read, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.errors import CorruptError, LimitError
from ckpt_surgeon.formats.shard_files import is_plain_name
from ckpt_surgeon.formats.strict_json import parse_json
from ckpt_surgeon.lazy_dataclass import dataclass

__all__ = ["MAX_INDEX_BYTES", "Index", "index_bytes", "read_index"]

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
    except (CorruptError, LimitError) as error:
        raise error.located(file.path) from error


def index_bytes(weight_map: Mapping[str, str], metadata: Mapping[str, Any]) -> bytes:
    """The text of an index file."""
    value = {"metadata": dict(metadata), "weight_map": dict(weight_map)}
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode("utf-8")


def _index(value: Any) -> Index:
    if not isinstance(value, dict) or "weight_map" not in value:
        raise CorruptError("the JSON is no index of shards: it has no weight_map")
    weight_map, metadata = value["weight_map"], {} if value.get("metadata") is None else value["metadata"]
    if not isinstance(weight_map, dict) or not isinstance(metadata, dict):
        raise CorruptError("the index's weight_map and metadata are no tables")
    for key, name in weight_map.items():
        if not is_plain_name(name):
            raise CorruptError(f"{key!r} is said to lie in {name!r}, which is no plain file name", hint="shards lie beside their index")
    texts = {key: item if isinstance(item, str) else json.dumps(item) for key, item in metadata.items() if key not in _COMPUTED}
    return Index(weight_map, texts)
