"""Low-rank adapters beside weights which the target has without them: to merge them or to leave them out is one question for all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_surgeon.lazy_dataclass import dataclass
from ckpt_surgeon.mapping.calibration import BOTH_WAYS, MIN_CONFIDENCE
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link
from ckpt_surgeon.spec import Header

__all__ = ["with_adapters", "without_adapters"]

_ADAPTER = re.compile(r"(?P<owner>.+?)\.lora_(?:embedding_)?(?P<side>A|B|down|up)(?P<name>(?:\..+)?)")
_BASES = (".base_layer.weight", ".weight")  # peft wraps a layer; others hang adapters on it
_ALPHAS = (".alpha", ".lora_alpha")
_ALPHA = "alpha"
_SIDES = {"A": "A", "B": "B", "down": "A", "up": "B"}
_DOUBT = "adapters stand beside weights which the target has without: whether they are merged or left out is one decision for all"
_MERGED = "merged; alpha stands in the adapter's configuration, and here is the rank: a factor of 1"
_WITH_ALPHA = "merged, by the alpha beside each"
_LEFT_OUT = "the adapters left out"
_KEY = ".merged"  # of neither header, between two ops


@dataclass(frozen=True, slots=True)
class _Adapter:
    """The keys which `merge_lora` takes behind the weight, and its parameters."""

    keys: tuple[str, ...]
    parameters: tuple[tuple[str, Any], ...]


Adapters = dict[str, dict[str, _Adapter]]  # name of an adapter -> weight -> its part beside it


def without_adapters(source: Header, target: Header) -> tuple[Header, Adapters]:
    """The source without the adapters of weights which it holds, and these; all of it where the target has adapters, too."""
    if any(_ADAPTER.fullmatch(key) for key in target.tensors):
        return source, {}
    adapters = _adapters(source)
    gone = {key for each in adapters.values() for adapter in each.values() for key in adapter.keys}
    return (Header({key: entry for key, entry in source.entries.items() if key not in gone}), adapters) if gone else (source, {})


def _adapters(source: Header) -> Adapters:
    sides: dict[tuple[str, str], dict[str, str]] = {}
    for key in source.tensors:
        found = _ADAPTER.fullmatch(key)
        if found is not None:
            sides.setdefault((found["owner"], found["name"]), {})[_SIDES[found["side"]]] = key
    made: Adapters = {}
    for (owner, name), pair in sides.items():
        base = next((owner + tail for tail in _BASES if owner + tail in source.tensors), None)
        adapter = _adapter(owner, base, pair, source) if base is not None and len(pair) == len(set(_SIDES.values())) else None
        if base is not None and adapter is not None:
            made.setdefault(name, {})[base] = adapter
    return made


def _adapter(owner: str, base: str, pair: Mapping[str, str], source: Header) -> _Adapter | None:
    """None where the shapes do not fit the weight, whichever way it lies."""
    weight, down, up = (source.tensors[key].shape for key in (base, pair["A"], pair["B"]))
    if not len(weight) == len(down) == len(up) >= 2 or down[0] != up[1]:
        return None
    alpha = next((owner + tail for tail in _ALPHAS if owner + tail in source.tensors), None)
    keys = (pair["A"], pair["B"]) if alpha is None else (pair["A"], pair["B"], alpha)
    factor = () if alpha is not None else ((_ALPHA, down[0]),)
    if (up[0], *down[1:]) == weight:
        return _Adapter(keys, factor)
    return _Adapter(keys, (*factor, ("fan_in_fan_out", True))) if (down[1:], up[0]) == (weight[:1], weight[-1]) else None


def with_adapters(families: Sequence[Family], adapters: Adapters) -> tuple[Family, ...]:
    """The families; sure links from weights which have adapters are a question of their own, the first way with all of them merged."""
    bases = {base for each in adapters.values() for base in each}
    found: list[Family] = []
    touched: list[Family] = []
    for family in families:
        meant = _from(family.links, bases) if family.confidence >= MIN_CONFIDENCE else ()
        rest = tuple(link for link in family.links if link not in meant)
        touched += [replace(family, links=meant)] if meant else []
        found += [replace(family, links=rest)] if rest else []
    return (*found, _question(touched, adapters)) if touched else tuple(families)


def _from(links: Sequence[Link], bases: set[str]) -> tuple[Link, ...]:
    """The links from these keys, and those which go on from them."""
    made: set[str] = set()
    for link in links:
        if not made.isdisjoint(link.sources) or not bases.isdisjoint(link.sources):
            made.update(link.targets)
    return tuple(link for link in links if not made.isdisjoint(link.targets))


def _question(touched: Sequence[Family], adapters: Adapters) -> Family:
    links = tuple(link for family in touched for link in family.links)
    confidence = min(family.confidence for family in touched) * BOTH_WAYS
    ways = [Alternative(_merged_all(links, each), confidence, _why(each.values())) for each in adapters.values()]
    first, *others = [*ways, Alternative(links, confidence, _LEFT_OUT)]
    return Family(first.links, confidence, first.why, _DOUBT, tuple(others))


def _why(adapters: Iterable[_Adapter]) -> str:
    return _WITH_ALPHA if all(_ALPHA not in dict(each.parameters) for each in adapters) else _MERGED


def _merged_all(links: Sequence[Link], adapters: Mapping[str, _Adapter]) -> tuple[Link, ...]:
    return tuple(each for link in links for each in _merged(link, adapters))


def _merged(link: Link, adapters: Mapping[str, _Adapter]) -> Iterator[Link]:
    """The same from merged weights: merging alone makes what is only renamed."""
    is_last = link.change is None and link.sources[0] in adapters
    for key in link.sources:
        if key in adapters:
            made = link.targets[0] if is_last else f"{key}{_KEY}"
            yield Link((key, *adapters[key].keys), (made,), Change("merge_lora", adapters[key].parameters))
    if not is_last:
        yield replace(link, sources=tuple(f"{key}{_KEY}" if key in adapters else key for key in link.sources))
