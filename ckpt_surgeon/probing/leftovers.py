"""Tensors which names and shapes left over on both sides, paired by their values."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ckpt_surgeon.formats.protocol import Reader
from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.links import Change, Family, Link
from ckpt_surgeon.probing.settling import CERTAIN
from ckpt_surgeon.spec import TensorSpec

__all__ = ["SAME", "constant_kind", "families_of", "found_by_value", "trained_kind"]

SAME = "its values are the target's, and no other's"

_DIGITS = re.compile(r"\d+")
_LIKELY = 0.95
_FEWEST = 4  # elements; fewer may be equal by chance
_LEAST_SCALE, _MOST_SCALE = 0.1, 10.0  # between these lies the median of scales
_POSITIVE = 0.95  # of the elements of a scale, at least
_MIXED = (0.05, 0.95)  # the share of positive elements of a shift

Kind = Literal["scale", "shift"]


def found_by_value(targets: Sequence[str], sources: Sequence[str], source: Reader, target: Reader, links: Iterable[Link]) -> list[Family]:
    """Families of those which have the same values, and of scales and shifts which are told apart by theirs.

    links: what is matched, or may be. Only within parts some tensors of which are linked do scales and shifts tell anything: a new
    norm of the target may have the shape of one which it lacks.
    """
    wanted = {key: spec for key in targets if isinstance(spec := target.header.entries[key], TensorSpec) and spec.numel >= _FEWEST}
    given = {key: spec for key in sources if isinstance(spec := source.header.entries[key], TensorSpec) and spec.numel in _sizes(wanted)}
    tensors = {key: target.read(key) for key in wanted if wanted[key].numel in _sizes(given)}
    equal = list(_equal(tensors, list(given), source))
    used = {key for link in equal for key in (*link.sources, *link.targets)}
    fresh = {key: kind for key, tensor in tensors.items() if key not in used and (kind := constant_kind(tensor))}
    kinds = {key: kind for key in given if key not in used and (kind := trained_kind(source.read(key)))} if fresh else {}
    linked = {(_parent(key), _parent(name)) for link in links for key in link.targets for name in link.sources}
    return [*families_of([(link,) for link in equal], SAME), *_scales_and_shifts(_places(fresh, wanted), _places(kinds, given), linked)]


def _sizes(specs: Mapping[str, TensorSpec]) -> set[int]:
    return {spec.numel for spec in specs.values()}


def _equal(wanted: Mapping[str, Tensor], given: Iterable[str], source: Reader) -> Iterator[Link]:
    """A link for each target which has the values of one source and of no other, in their order or transposed."""
    telling = {key: tensor for key, tensor in wanted.items() if constant_kind(tensor) is None}
    by_values: dict[Hashable, list[str]] = defaultdict(list)
    for key, tensor in telling.items():
        by_values[_unordered(tensor)].append(key)
    found: dict[str, list[Link]] = defaultdict(list)
    for name in given:
        tensor = source.read(name)
        for key in by_values.get(_unordered(tensor), ()):
            change = _change(tensor, telling[key])
            if change is not None:
                found[key].append(Link((name,), (key,), change or None))
    once = [links[0] for links in found.values() if len(links) == 1]
    yield from (link for link in once if sum(other.sources == link.sources for other in once) == 1)


def _unordered(tensor: Tensor) -> tuple[int, bytes]:
    """What no order of the values changes: a digest of them, sorted."""
    wide = _wide(tensor)
    numbers = torch.view_as_real(wide) if wide.is_complex() else wide
    ordered = numbers.flatten().sort().values
    return tensor.numel(), hashlib.sha256(ordered.numpy().tobytes()).digest()


def _change(tensor: Tensor, wanted: Tensor) -> Change | Literal[False] | None:
    """The op which makes the values the wanted ones; False where none is needed, None where none does."""
    if tensor.is_complex() != wanted.is_complex():
        return None
    first, second = _wide(tensor), _wide(wanted)
    if torch.equal(first, second):
        return False
    if first.dim() == 2 and torch.equal(first.T, second):
        return Change("transpose")
    if torch.equal(first.flatten(), second.flatten()):
        return Change("reshape", (("shape", tuple(wanted.shape)),))
    return None


def _wide(tensor: Tensor) -> Tensor:
    """In a type which tells all numbers apart: large ids, and small differences of float64."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def constant_kind(tensor: Tensor) -> Kind | Literal["other"] | None:
    """What a fresh norm holds: `scale` for ones, `shift` for zeros; None for numbers which differ."""
    numbers = _wide(tensor).flatten()
    if bool((numbers != numbers[0]).any()):
        return None
    if numbers[0] == 1.0:
        return "scale"
    return "shift" if numbers[0] == 0.0 else "other"


def trained_kind(tensor: Tensor) -> Kind | None:
    """What trained numbers look like: scales are positive and about 1, shifts lie on both sides of 0."""
    if tensor.is_complex():
        return None
    numbers = tensor.float().flatten()
    positive = float((numbers > 0).float().mean())
    if positive >= _POSITIVE and _LEAST_SCALE <= float(numbers.median()) <= _MOST_SCALE:
        return "scale"
    return "shift" if _MIXED[0] <= positive <= _MIXED[1] and float(numbers.mean().abs()) < float(numbers.std()) else None


def families_of(ways: Iterable[tuple[Link, ...]], why: str, confidence: float = CERTAIN) -> Iterator[Family]:
    """Decisions which are as sure, one for the ways of one place in all its repetitions."""
    groups: dict[Hashable, list[Link]] = defaultdict(list)
    for links in ways:
        groups[tuple((_place(link.targets[0]), _place(link.sources[0]), link.change) for link in links)].extend(links)
    yield from (Family(tuple(group), confidence, why) for group in groups.values())


def _place(key: str) -> str:
    return _DIGITS.sub("#", key)


@dataclass(frozen=True, slots=True)
class _Place:
    """Keys which differ in numbers only, in the order of these. sign: what the keys of its counterpart have to share."""

    parent: str
    sign: tuple[object, ...]
    keys: tuple[str, ...]


def _places(kinds: Mapping[str, str], specs: Mapping[str, TensorSpec]) -> list[_Place]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, kind in kinds.items():
        groups[(_place(key), kind)].append(key)
    found = []
    for (_, kind), keys in groups.items():
        ordered = sorted(keys, key=_numbers)
        sign = (kind, *((_numbers(key), specs[key].shape) for key in ordered))
        found.append(_Place(_parent(ordered[0]), sign, tuple(ordered)))
    return found


def _scales_and_shifts(lefts: Sequence[_Place], rights: Sequence[_Place], linked: Collection[tuple[str, str]]) -> Iterator[Family]:
    """Places of linked parts which are the only ones of their kind, shapes and numbers."""
    pairs = [(a, b) for a in lefts for b in rights if a.sign == b.sign and (a.parent, b.parent) in linked]
    for left, right in pairs:
        if sum(left in pair for pair in pairs) == sum(right in pair for pair in pairs) == 1:
            links = tuple(Link((name,), (key,)) for key, name in zip(left.keys, right.keys, strict=True))
            yield Family(links, _LIKELY, f"the only {left.sign[0]} of its shape here on both sides, by its values")


def _parent(key: str) -> str:
    return _place(key.rpartition(".")[0])


def _numbers(key: str) -> tuple[int, ...]:
    return tuple(map(int, _DIGITS.findall(key)))
