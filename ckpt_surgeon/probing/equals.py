"""Tensors which have the same values under whatever names: found by samples, proven whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.probing.samples import Samples, in_common, is_number, narrower
from ckpt_surgeon.spec import Header

__all__ = ["equal_links", "told_apart"]

_FEWEST = 4  # elements; fewer may be equal by chance


def equal_links(targets: Iterable[str], sources: Iterable[str], samples: Samples, source: Reader, target: Reader) -> list[Link]:
    """A link for each target and source which have the same values, in the narrower type of both.

    Only tensors of one shape are held side by side, and of these only those are read whole whose samples are equal.
    """
    wanted, given = _by_shape(targets, target.header), _by_shape(sources, source.header)
    return [link for shape in wanted for link in _equal_in_shape(wanted[shape], given.get(shape, []), samples, source, target)]


def told_apart(links: Sequence[Link]) -> list[Link]:
    """The links whose source is in no other, nor their target."""
    times = Counter(key for link in links for key in (("of", *link.sources), ("to", *link.targets)))
    return [link for link in links if times["of", *link.sources] == times["to", *link.targets] == 1]


def _by_shape(keys: Iterable[str], header: Header) -> dict[tuple[int, ...], list[str]]:
    found: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        if is_number(header.entries[key]) and header.tensors[key].numel >= _FEWEST:
            found[header.tensors[key].shape].append(key)
    return found


def _equal_in_shape(targets: Sequence[str], sources: Sequence[str], samples: Samples, source: Reader, target: Reader) -> Iterator[Link]:
    if not sources:
        return
    types = [header.tensors[key].dtype for keys, header in ((targets, target.header), (sources, source.header)) for key in keys]
    dtype = narrower(types)
    by_sample: dict[Hashable, list[str]] = defaultdict(list)
    for key in targets:
        by_sample[_sign(samples.wanted(key), dtype)].append(key)
    alike = ((name, key) for name in sources for key in by_sample.get(_sign(samples.given(name), dtype), ()))
    yield from (Link((name,), (key,)) for name, key in alike if _is_equal(source.read(name), target.read(key)))


def _sign(sample: Tensor, dtype: torch.dtype) -> Hashable:
    return tuple(sample.to(dtype).double().tolist())


def _is_equal(found: Tensor, wanted: Tensor) -> bool:
    """Whether all elements are equal, and not all the same number."""
    first, second = in_common(found, wanted)
    return torch.equal(first, second) and bool((second != second.flatten()[0]).any())
