"""What our safetensors files and indexes carry beside the tensors: `_metadata`, ties and the order of all keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ckpt_surgeon.errors import CorruptError, Problem, SurgeryError
from ckpt_surgeon.formats.strict_json import parse_json
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Entry, Header

__all__ = ["Carried", "carried_metadata", "split_metadata"]

_TORCH_METADATA = "ckpt_surgeon.torch_metadata"
_TIES = "ckpt_surgeon.ties"
_ORDER = "ckpt_surgeon.order"


@dataclass(frozen=True, slots=True)
class Carried:
    """`user`: the metadata which is not ours; `ties`: alias -> the key which is in the file; `order`: all keys, or empty."""

    user: Mapping[str, str]
    torch_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    def with_ties(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries of the file and their second names, in the order in which they were written.

        Raises CorruptError when the ties or the order do not fit the entries.
        """
        for alias, key in self.ties.items():
            if alias in entries or key not in entries:
                raise CorruptError(f"{_TIES} ties {alias!r} to {key!r}, which does not fit the tensors of the file")
        whole = {**entries, **{alias: entries[key] for alias, key in self.ties.items()}}
        if not self.order:
            return whole
        if len(self.order) != len(whole) or set(self.order) != set(whole):
            raise CorruptError(f"{_ORDER} does not name the tensors of the file, each once")
        return {key: whole[key] for key in self.order}


def carried_metadata(header: Header) -> dict[str, str]:
    """The text metadata of a file for `header`: the header's own, `format`, and what Carried reads back; sorted by key."""
    texts = {"format": "pt", **header.metadata}
    if header.torch_metadata:
        texts[_TORCH_METADATA] = _torch_metadata_text(header.torch_metadata)
    if header.aliases:
        texts[_TIES] = _dump(dict(header.aliases))
        texts[_ORDER] = _dump(list(header.entries))
    return dict(sorted(texts.items()))


def split_metadata(metadata: Mapping[str, str]) -> Carried:
    """The inverse of `carried_metadata`; CorruptError when what is ours is not as we write it."""
    user = {key: text for key, text in metadata.items() if key not in (_TORCH_METADATA, _TIES, _ORDER)}
    torch_metadata = parse_json(metadata.get(_TORCH_METADATA, "{}"), _TORCH_METADATA)
    if not isinstance(torch_metadata, dict) or not all(isinstance(value, dict) for value in torch_metadata.values()):
        raise CorruptError(f"{_TORCH_METADATA} is no table of module -> table")
    ties = parse_json(metadata.get(_TIES, "{}"), _TIES)
    if not isinstance(ties, dict) or not all(isinstance(key, str) for key in ties.values()):
        raise CorruptError(f"{_TIES} is no table of key -> key")
    order = parse_json(metadata.get(_ORDER, "[]"), _ORDER)
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise CorruptError(f"{_ORDER} is no list of keys")
    return Carried(user, torch_metadata, ties, tuple(order))


def _torch_metadata_text(torch_metadata: Mapping[str, Mapping[str, Any]]) -> str:
    problems: list[Problem] = []
    for module, values in torch_metadata.items():
        try:
            _dump(dict(values))
        except (TypeError, ValueError) as error:
            problems.append(Problem(f"its _metadata cannot be kept as text: {error}", where=module, hint="write a .pt file instead"))
    if problems:
        raise SurgeryError(problems)
    return _dump({module: dict(values) for module, values in torch_metadata.items()})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
