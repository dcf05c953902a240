"""A lineage within the header of the file which it tells of; and out of it again."""

from __future__ import annotations

from typing import Final

from ckpt_surgeon.errors import CorruptError
from ckpt_surgeon.formats.strict_json import MAX_VALUES
from ckpt_surgeon.planning.lineage import Lineage
from ckpt_surgeon.planning.manifest import lineage_text, parse_lineage
from ckpt_surgeon.planning.stamping import PLAN
from ckpt_surgeon.spec import LINEAGE, Header

__all__ = ["embedded", "embedded_lineage"]

# A manifest has its place in the header while it takes at most a third of it, so that headers stay quick to read; a small one always has.
_SHARE: Final = 3
_SMALL: Final = 64 * 1024
# What a tensor takes in a safetensors header beside its name: `:{"dtype":"F32","shape":[64],"data_offsets":[0,256]},` and quotes.
_ENTRY_CHARACTERS: Final = 64
_ENTRY_VALUES: Final = 8  # and one more for each dim


def embedded(lineage: Lineage, header: Header) -> dict[str, str]:
    """The texts by which the metadata of an output tell its lineage: the plan's digest, and the manifest where there is room for it."""
    text = lineage_text(lineage)
    texts = {PLAN: lineage.plan}
    return {**texts, LINEAGE: text} if _has_room(text, header) else texts


def embedded_lineage(header: Header) -> Lineage | None:
    """The lineage which a checkpoint's header tells; None where it tells none. Raises what `parse_lineage` raises."""
    text = header.metadata.get(LINEAGE)
    if text is None:
        return None
    lineage = parse_lineage(text, LINEAGE)
    if header.metadata.get(PLAN) != lineage.plan:
        raise CorruptError(f"the manifest is of another plan than {PLAN}", where=LINEAGE)
    return lineage


def _has_room(text: str, header: Header) -> bool:
    characters = sum(map(len, header.entries)) + _ENTRY_CHARACTERS * len(header)
    written = len(text) + text.count('"')  # which a text within JSON has to escape
    if written > max(_SMALL, characters // _SHARE) or not _is_utf8(text):
        return False
    values = sum(_ENTRY_VALUES + len(spec.shape) for spec in header.tensors.values())
    return values + sum(map(text.count, ",[{")) <= MAX_VALUES


def _is_utf8(text: str) -> bool:
    """Whether a file can hold it: names in a pickle may be no Unicode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
