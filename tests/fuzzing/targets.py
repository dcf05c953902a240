"""TARGETS: what is fuzzed, by name. A new one is a generator of inputs and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from chance import Chance
from distributed_folders import as_saved, distributed_folder
from reading import read_checkpoint, read_one_pickle, read_rules_file
from references import by_pickle, by_safetensors, by_shards, by_torch, same_held, same_saved, same_table, same_value
from rules_texts import rules_file
from safetensors_inputs import indexed_folder, safetensors_file
from torch_inputs import bare_pickle, older_stream, pickled_archive
from zip_archives import archive

from ckpt_surgeon.errors import CorruptError, LimitError, RulesError, SurgeryError, UnsafeError

__all__ = ["TARGETS", "Target"]

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    make: the files of an input, that which is opened first. read: what ours makes of it. refusals: the errors which it may raise.
    reference: another reader, any exception of which is a refusal. differs: (ours, the reference's) -> what differs, or an empty text.
    shown: the reference sees one in so many of the inputs which ours refuses; it sees all which ours takes.
    """

    make: Callable[[Chance], Files]
    read: Callable[[Files], Any]
    refusals: frozenset[type[SurgeryError]]
    reference: Callable[[Files], Any] | None = None
    differs: Callable[[Any, Any], str] = lambda _ours, _theirs: ""
    shown: int = 1


_BAD_FILE = frozenset({CorruptError, UnsafeError, LimitError})
# A file with several tables is refused with the hint to name one.
_BAD_CHECKPOINT = _BAD_FILE | {RulesError}

TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "pickle": Target(bare_pickle, read_one_pickle, _BAD_FILE, by_pickle, same_value, 4),
        "torch": Target(pickled_archive, read_checkpoint, _BAD_CHECKPOINT, by_torch, same_table, 10),
        "older": Target(older_stream, read_checkpoint, _BAD_CHECKPOINT, by_torch, same_table, 10),
        "zip": Target(archive, read_checkpoint, _BAD_CHECKPOINT, by_torch, same_table, 10),
        "safetensors": Target(safetensors_file, read_checkpoint, _BAD_FILE, by_safetensors, same_held),
        "index": Target(indexed_folder, read_checkpoint, _BAD_CHECKPOINT, by_shards, same_held, 4),
        "distributed": Target(distributed_folder, read_checkpoint, _BAD_CHECKPOINT, as_saved, same_saved, 1),
        "rules": Target(rules_file, read_rules_file, frozenset({RulesError})),
    }
)
