"""Small sources and random rule lists on them, of which most fit. Strategies for hypothesis."""

from typing import Any

import torch
from generated import random_bytes
from hypothesis import strategies as st
from tensor_twin import Refused, judged
from torch import Tensor

__all__ = ["KEYS", "fits", "surgeries"]

_MOST_RULES = 5

KEYS = ["a", "b.w", "b.x", "c", "d.0.w"]
_KEY = st.sampled_from(KEYS)
_DTYPES = [torch.float32, torch.float32, torch.float16, torch.int16, torch.bool, torch.int8]
_SIZES = st.sampled_from([1, 2, 2, 2, 4, 0])
_DIM = st.integers(-2, 2)
_DIMS = st.lists(_DIM, min_size=1, max_size=2)
_MANY = st.lists(_KEY, min_size=2, max_size=3)


@st.composite
def _tensors(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]]) -> Tensor:
    dtype, shape = draw(st.sampled_from(_DTYPES)), draw(shapes)
    count = 1
    for size in shape:
        count *= size
    return (random_bytes(count, draw(st.integers(0, 99))) % 100).to(dtype).reshape(shape)


@st.composite
def _sources(draw: st.DrawFn) -> dict[str, Tensor]:
    """One to four tensors, often of one shape, so that they can be joined; some of them tied."""
    common = st.just(draw(st.lists(_SIZES, min_size=1, max_size=3).map(tuple)))
    shapes = st.one_of(common, common, st.lists(_SIZES, max_size=3).map(tuple))
    keys = draw(st.lists(_KEY, min_size=1, max_size=4, unique=True))
    table: dict[str, Tensor] = {}
    for key in keys:
        is_tied = bool(table) and draw(st.integers(0, 4)) == 0
        table[key] = draw(st.sampled_from(list(table.values()))) if is_tied else draw(_tensors(shapes))
    return table


def _rule(name: str, **body: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: st.fixed_dictionaries(body)})


def _pair(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(_KEY, _KEY).map(lambda pair: {name: {pair[0]: pair[1]}})


def _split(source: str, target: list[str], dim: int, cuts: dict[str, Any]) -> dict[str, Any]:
    return {"split": {"source": source, "target": target, "dim": dim, **cuts}}


_CUTS = st.one_of(
    st.just({}),
    st.lists(st.integers(0, 2), min_size=2, max_size=3).map(lambda sizes: {"sizes": sizes}),
)
_RULE = st.one_of(
    _pair("rename"),
    _pair("copy"),
    _pair("tie"),
    _KEY.map(lambda key: {"drop": key}),
    _rule("squeeze", match=_KEY, dims=_DIMS),
    _rule("unsqueeze", match=_KEY, dims=_DIMS),
    _rule("reshape", match=_KEY, shape=st.lists(st.sampled_from([-1, 1, 2, 4]), max_size=3)),
    _rule("reshape", match=_KEY, shape=st.just([-1])),
    _rule("transpose", match=_KEY),
    _rule("transpose", match=_KEY, dims=st.lists(_DIM, min_size=2, max_size=2)),
    _rule("permute", match=_KEY, dims=st.permutations([0, 1, 2])),
    _rule("permute", match=_KEY, dims=st.permutations([0, -1])),
    _rule("cast", match=_KEY, dtype=st.sampled_from(["float64", "float32", "int64", "float16"])),
    st.builds(_split, _KEY, _MANY, _DIM, _CUTS),
    _rule("concat", source=_MANY, target=_KEY, dim=_DIM),
    _rule("concat", source=_MANY, target=_KEY),
    _rule("stack", source=_MANY, target=_KEY, dim=_DIM),
    _rule("unstack", source=_KEY, target=_MANY, dim=_DIM),
)


@st.composite
def surgeries(draw: st.DrawFn) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """A source and its rules. Most rules which would not fit are left out again, or next to nothing would be left to judge."""
    source = draw(_sources())
    rules: list[dict[str, Any]] = []
    for rule in draw(st.lists(_RULE, min_size=4, max_size=12)):
        if fits([*rules, rule], source) or draw(st.integers(0, 39)) == 0:
            rules.append(rule)
    return source, rules[:_MOST_RULES]


def fits(rules: list[dict[str, Any]], source: dict[str, Tensor]) -> bool:
    """Whether the twin takes these rules."""
    try:
        judged(rules, source)
    except Refused:
        return False
    return True
