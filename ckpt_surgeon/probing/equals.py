"""Tensors which have the same values under whatever names: found by samples, proven whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.probing.samples import SAMPLED, Samples, in_common, is_number, narrower
from ckpt_surgeon.probing.strands import Strand
from ckpt_surgeon.spec import Header

__all__ = ["equal_links", "told_apart", "told_whole"]

_FEWEST = 4  # elements; fewer may be equal by chance


def equal_links(targets: Iterable[str], sources: Iterable[str], samples: Samples, source: Reader, target: Reader) -> list[Link]:
    """A link for each target and source which have the same values, in the narrower type of both, as they lie or transposed.

    Only tensors of one shape are held side by side, and of these only those are read whole whose samples are equal.
    """
    wanted, given = _by_shape(targets, target.header), _by_shape(sources, source.header)
    found: dict[tuple[str, str], Link] = {}
    for shape, keys in wanted.items():
        for names, is_turned in ((given.get(shape, []), False), (given.get(shape[::-1], []) if _turns(shape) else [], True)):
            for name, key in _alike(keys, names, samples, (source.header, target.header), is_turned):
                if _is_equal(source.read(name), target.read(key), is_turned):
                    found.setdefault((name, key), Link((name,), (key,), Change("transpose") if is_turned else None))
    return list(found.values())


def _turns(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) > 1


def told_apart(links: Sequence[Link]) -> list[Link]:
    """The links whose source is in no other, nor their target."""
    times = Counter(key for link in links for key in (("of", *link.sources), ("to", *link.targets)))
    return [link for link in links if times["of", *link.sources] == times["to", *link.targets] == 1]


def told_whole(known: Sequence[Strand], unused: Iterable[str], samples: Samples, source: Reader, target: Reader) -> list[Strand]:
    """The strands, those compared whole whose source has the samples of another one, or of what is unused: one row may tell them apart."""
    plain = [strand for strand in known if strand.standing == "equal" and strand.is_plain]
    shapes = {source.header.tensors[strand.sources[0]].shape for strand in plain}
    names = dict.fromkeys((*(strand.sources[0] for strand in plain), *unused))
    specs = {name: source.header.tensors[name] for name in names if is_number(source.header.entries[name])}
    large = [name for name, spec in specs.items() if spec.shape in shapes and spec.numel > SAMPLED]
    signs = {name: _sign(samples.given(name), torch.float64) for name in large}
    times = Counter(signs.values())
    twins = {name for name, sign in signs.items() if times[sign] > 1}
    return [
        _whole(strand, source, target) if strand.standing == "equal" and strand.is_plain and strand.sources[0] in twins else strand
        for strand in known
    ]


def _whole(strand: Strand, source: Reader, target: Reader) -> Strand:
    is_equal = _is_equal(source.read(strand.sources[0]), target.read(strand.targets[0]), is_turned=False)
    return strand if is_equal else replace(strand, standing="near")


def _by_shape(keys: Iterable[str], header: Header) -> dict[tuple[int, ...], list[str]]:
    found: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        if is_number(header.entries[key]) and header.tensors[key].numel >= _FEWEST:
            found[header.tensors[key].shape].append(key)
    return found


def _alike(
    keys: Sequence[str], names: Sequence[str], samples: Samples, headers: tuple[Header, Header], is_turned: bool
) -> Iterator[tuple[str, str]]:
    """Pairs of a source and a target whose samples are equal. headers: SOURCE's and TARGET's."""
    if not names:
        return
    dtype = narrower([*(headers[0].tensors[name].dtype for name in names), *(headers[1].tensors[key].dtype for key in keys)])
    by_sample: dict[Hashable, list[str]] = defaultdict(list)
    for key in keys:
        by_sample[_sign(samples.corner_wanted(key) if is_turned else samples.wanted(key), dtype)].append(key)
    for name in names:
        sample = samples.corner_given(name).T if is_turned else samples.given(name)
        yield from ((name, key) for key in by_sample.get(_sign(sample, dtype), ()))


def _sign(sample: Tensor, dtype: torch.dtype) -> Hashable:
    return tuple(sample.to(dtype).double().flatten().tolist())


def _is_equal(found: Tensor, wanted: Tensor, is_turned: bool) -> bool:
    """Whether all elements are equal, and not all the same number."""
    first, second = in_common(found.T if is_turned else found, wanted)
    return torch.equal(first, second) and bool((second != second.flatten()[0]).any())
