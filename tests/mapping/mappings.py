"""The truth of a pair as a Mapping: what a matcher which knows everything would say."""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ckpt_surgeon.mapping.links import Change, Family, Link, Mapping
from ckpt_surgeon.spec import Header, TensorSpec

__all__ = ["NAMES", "Pair", "headers", "mapping_of", "moves", "pair_of"]

_FOLDER = Path(__file__).parent / "pairs"
NAMES = sorted(path.name.removesuffix(".json.gz") for path in _FOLDER.iterdir())

Truth = dict[str, dict[str, Any]]


class Pair(NamedTuple):
    """Two headers, for each target key where it comes from, and what has no counterpart."""

    source: Header
    target: Header
    truth: Truth
    new: tuple[str, ...]
    unused: tuple[str, ...]


@cache
def pair_of(name: str, *, by_name: bool = False) -> Pair:
    """A real pair; by_name: its source as a sorted file has it."""
    content = json.loads(gzip.decompress((_FOLDER / f"{name}.json.gz").read_bytes()))
    source = dict(sorted(content["source"].items())) if by_name else content["source"]
    new, unused = tuple(content["unmatched_target"]), tuple(content["unused_source"])
    return Pair(_header(source), _header(content["target"]), content["truth"], new, unused)


def _header(table: dict[str, Any]) -> Header:
    return Header({key: TensorSpec.of(dtype, *shape) for key, (dtype, shape) in table.items()})


def mapping_of(pair: Pair, confidence: float = 0.999) -> Mapping:
    """One family for each link or chain of links."""
    families = [Family(links, confidence, "so says the truth") for links in _chains(pair)]
    return Mapping(tuple(families), pair.new, pair.unused)


def _chains(pair: Pair) -> Iterator[tuple[Link, ...]]:
    slices: dict[str, dict[int, str]] = {}
    for key, truth in pair.truth.items():
        sources, op = tuple(truth["from"]), truth["op"]
        if op.startswith("slice("):
            slices.setdefault(sources[0], {})[int(op.split(",")[1])] = key
        elif op.startswith("group("):
            yield _stacked_pairs(sources, key)
        elif op in ("concat(0)", "stack(0)"):
            yield (Link(sources, (key,), Change(op[:-3])),)
        else:
            yield (Link(sources, (key,), _change(op, pair.source.tensors[sources[0]], pair.target.tensors[key])),)
    for source, parts in slices.items():
        yield (Link((source,), tuple(parts[start] for start in sorted(parts)), Change("split", (("dim", 0),))),)


def _stacked_pairs(sources: tuple[str, ...], key: str) -> tuple[Link, ...]:
    parts = tuple(f"{key}.{at}" for at in range(len(sources) // 2))
    pairs = [Link(sources[2 * at : 2 * at + 2], (part,), Change("concat")) for at, part in enumerate(parts)]
    return (*pairs, Link(parts, (key,), Change("stack")))


def _change(op: str, source: TensorSpec, target: TensorSpec) -> Change | None:
    rows = re.fullmatch(r"rows\(0;(\d+),\d+,2;0,2,1\)", op)
    if rows:
        return Change("rope_permute", (("heads", int(rows[1])), ("source_layout", "interleaved"), ("target_layout", "half")))
    if op.startswith("reshape"):
        is_fitting = [size for size in source.shape if size != 1] == [size for size in target.shape if size != 1]
        return Change("fit") if is_fitting else Change("reshape", (("shape", target.shape),))
    channels = ("in_channels", target.shape[1]) if len(target.shape) > 1 else ("", 0)
    known = {
        "identity": None,
        "transpose(1,0)": Change("transpose"),
        "sum(1)": Change("adapt_in_channels", (("mode", "sum"), channels)),
        "mean(1)|repeat(1,10)": Change("adapt_in_channels", (("mode", "mean"), channels)),
    }
    return known[op]


def headers(table: dict[str, str]) -> tuple[Header, Header]:
    """Headers of which each key has a shape of its own, so that a mistake is a misfit: source key -> target key."""
    specs = {key: TensorSpec.of("float32", at + 2, 3) for at, key in enumerate(table)}
    return Header(specs), Header({place: specs[key] for key, place in table.items()})


def moves(table: dict[str, str], confidence: float = 0.999, **words: Any) -> Mapping:
    """A mapping which renames, key by key."""
    return Mapping(tuple(Family((Link((key,), (place,)),), confidence, "as told", **words) for key, place in table.items()))
