"""Cut a Header into shards by max bytes; names, weight_map, total size; sizes as users write them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ckpt_surgeon.errors import SurgeryError
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.spec import Header

__all__ = ["Cut", "Shard", "cut", "cut_header", "parse_size", "shard_name"]

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "KI": 1024, "MI": 1024**2, "GI": 1024**3, "TI": 1024**4}
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?\s*([KMGT]I?)?B?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of several: its name and the part of the header which it holds."""

    name: str
    header: Header


@dataclass(frozen=True, slots=True)
class Cut:
    """A header in shards. `weight_map`: key -> shard name, ties left out. `total_size`: bytes of all tensors, ties once."""

    shards: tuple[Shard, ...]
    weight_map: dict[str, str]
    total_size: int


def cut(sizes: Sequence[int], limit: int) -> list[int]:
    """The number of items in each shard: greedy, in order; an item larger than `limit` stands alone.

    >>> cut([3, 3, 3, 9, 1], limit=6)
    [2, 1, 1, 1]
    """
    counts: list[int] = []
    filled = 0
    for size in sizes:
        if not counts or filled + size > limit:
            counts.append(0)
            filled = 0
        counts[-1] += 1
        filled += size
    return counts


def shard_name(number: int, count: int, *, stem: str = "model", suffix: str = ".safetensors") -> str:
    """The name of shard `number` (from 1) of `count`: `model-00001-of-00003.safetensors`."""
    return f"{stem}-{number:05d}-of-{count:05d}{suffix}"


def cut_header(header: Header, limit: int) -> Cut:
    """`header` in shards of at most `limit` bytes of tensors, in header order; ties stand in no shard."""
    keys = [key for key in header.entries if key not in header.aliases]
    sizes = [header.tensors[key].nbytes if key in header.tensors else 0 for key in keys]
    counts = cut(sizes, limit) or [0]
    shards: list[Shard] = []
    start = 0
    for number, count in enumerate(counts, 1):
        entries = {key: header.entries[key] for key in keys[start : start + count]}
        shard = replace(header, entries=entries, kinds={}, aliases={}, metadata={}, torch_metadata={})
        shards.append(Shard(shard_name(number, len(counts)), shard))
        start += count
    weight_map = {key: shard.name for shard in shards for key in shard.header.entries}
    return Cut(tuple(shards), weight_map, sum(sizes))


def parse_size(text: str) -> int:
    """Bytes from `5GB`, `500MB` (powers of 1000), `2GiB` (of 1024), `1.5GB` or a plain number; SurgeryError otherwise.

    >>> parse_size("2GiB"), parse_size("1.5 kB"), parse_size("12")
    (2147483648, 1500, 12)
    """
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match:
        whole, fraction, unit = match[1], match[2] or "", (match[3] or "").upper()
        size = int(whole + fraction) * _UNITS[unit] // 10 ** len(fraction)
    if size <= 0:
        raise SurgeryError(f"{text!r} is no size in bytes", hint="write 5GB, 500MB, 2GiB or a plain number of bytes, at least 1")
    return size
