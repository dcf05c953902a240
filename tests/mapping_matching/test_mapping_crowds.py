"""Hundreds of modules of one shape: what names say is taken, the rest is one question, and work grows no faster than the files."""

import random
from collections.abc import Callable

import pytest
from headers import calls, header

import ckpt_surgeon as surgeon

Shapes = dict[str, tuple[int, ...]]


def _words(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(count)]


def _flat(count: int, seed: int) -> Shapes:
    return {f"{word}.weight": (4, 4) for word in _words(count, seed)}


def _nested(count: int, seed: int) -> Shapes:
    names = _words(2 * count, seed)
    return {f"{parent}.{word}.weight": (4, 4) for parent, word in zip(names[:count], names[count:], strict=True)}


def _pairs(count: int, seed: int) -> Shapes:
    return {f"{word}.{leaf}": (4, 4) for word in _words(count // 2, seed) for leaf in ("weight", "slope")}


def _vectors(count: int, seed: int) -> Shapes:
    return dict.fromkeys(_words(count, seed), (4,))


def _numbers(count: int, seed: int) -> Shapes:
    return {f"list.{i + seed}.weight": (4, 4) for i in range(count)}


CROWDS: dict[str, tuple[Callable[[int, int], Shapes], Callable[[int, int], Shapes]]] = {
    "side by side": (_flat, _flat),
    "each in a part of its own": (_nested, _nested),
    "two tensors each": (_pairs, _pairs),
    "vectors": (_vectors, _vectors),
    "a list, and names": (_numbers, _flat),
    "names, and parts": (_flat, _nested),
}


def _calls(source: Shapes, target: Shapes) -> int:
    pair = header(source), header(target)
    return calls(lambda: surgeon.suggestion(*pair))


@pytest.mark.parametrize("name", CROWDS)
def test_four_times_as_many_look_alikes_are_four_times_the_work(name: str) -> None:
    left, right = CROWDS[name]
    few, many = (_calls(left(count, 1), right(count, 2)) for count in (150, 600))
    assert many < 5 * few


@pytest.mark.parametrize("name", CROWDS)
def test_look_alikes_without_telling_names_are_one_question(name: str) -> None:
    left, right = CROWDS[name]
    source, target = left(200, 1), right(200, 2)
    found = surgeon.suggestion(header(source), header(target))
    assert len(found.questions) == 1
    assert set(found.open_targets) == set(target)
    assert not found.families


@pytest.mark.parametrize("make", [_flat, _nested, _pairs, _vectors])
@pytest.mark.parametrize("prefix", ["", "model.", "a.b."])
def test_a_crowd_keeps_its_names_in_any_wrapper(make: Callable[[int, int], Shapes], prefix: str) -> None:
    source = make(200, 1)
    target = {f"{prefix}{key}": shape for key, shape in sorted(source.items())}
    found = surgeon.suggestion(header(source), header(target))
    assert found.is_settled
    assert {key: link.sources for family in found.families for link in family.links for key in link.targets} == {
        f"{prefix}{key}": (key,) for key in source
    }


@pytest.mark.parametrize("make", [_flat, _nested])
def test_of_a_crowd_those_are_asked_which_bear_new_names(make: Callable[[int, int], Shapes]) -> None:
    source = make(200, 1)
    kept = dict(list(source.items())[::2])
    target = kept | make(100, 2)
    found = surgeon.suggestion(header(source), header(target))
    assert {link.sources for family in found.families for link in family.links} == {(key,) for key in kept}
    assert set(found.open_targets) == target.keys() - kept.keys()
    assert len(found.questions) == 1
