"""What training moved a little under names which lie: turned to what it is near, asked where that is not clear."""

from collections.abc import Sequence

import pytest
import torch
from probed_models import numbers
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.checking import NEAR_THERE
from ckpt_surgeon.probing.nearest import NearElsewhere, near_elsewhere
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.strands import strands

Weights = dict[str, Tensor]


def valued(source: Weights, target: Weights) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, values=True)


def moved(tensor: Tensor, size: float, seed: int = 900) -> Tensor:
    """What some training makes of it: `size` is relative to how far its elements lie apart."""
    return tensor + size * tensor.std() * numbers(*tensor.shape, seed=seed)


def blocks(count: int = 4, frozen: int = 0) -> Weights:
    """Pairs `a`, `b` of one shape, and others of another one."""
    pairs = {f"h.{i}.{name}.weight": numbers(16, 16, seed=10 * i + at) for i in range(count) for at, name in enumerate("ab")}
    return pairs | {f"o.{i}.weight": numbers(16, 8, seed=500 + i) for i in range(frozen)}


def other_name(key: str) -> str:
    swap = {"a": "b", "b": "a"}
    return ".".join(swap.get(word, word) for word in key.split("."))


def takes(found: surgeon.Suggestion) -> dict[str, str]:
    return {key: recipe.key for key, recipe in found.plan.recipes.items()}


class TestNamesWhichLieAfterSomeTraining:
    @pytest.mark.parametrize("frozen", [0, 4, 8, 9])
    @pytest.mark.parametrize("size", [1e-6, 1e-3, 0.2])
    def test_are_seen_through_however_many_are_equal(self, frozen: int, size: float) -> None:
        source = blocks(frozen=frozen)
        target = {key: moved(source[other_name(key)], size) if key.startswith("h.") else value for key, value in source.items()}
        found = valued(source, target)
        assert found.is_settled
        assert takes(found) == {key: other_name(key) if key.startswith("h.") else key for key in source}
        assert NEAR_THERE in found.text
        assert "8 are near others, and turned there" in found.remarks[0]

    def test_are_seen_through_where_some_of_the_swapped_are_equal(self) -> None:
        source = blocks()
        target = {key: source[other_name(key)] if "h.0" in key else moved(source[other_name(key)], 0.01) for key in source}
        found = valued(source, target)
        assert takes(found) == {key: other_name(key) for key in source}
        assert "2 are elsewhere, and turned there; 6 are near others, and turned there" in found.remarks[0]

    @pytest.mark.parametrize("size", [1e-6, 0.05, 0.3])
    def test_but_honest_ones_stand_without_a_question(self, size: float) -> None:
        source = blocks(frozen=3)
        found = valued(source, {key: moved(value, size) for key, value in source.items()})
        assert found.is_settled
        assert takes(found) == {key: key for key in source}

    def test_of_strangers_say_nothing(self) -> None:
        found = valued(blocks(), {key: numbers(16, 16, seed=3000 + at) for at, key in enumerate(blocks())})
        assert found.is_settled
        assert takes(found) == {key: key for key in blocks()}
        assert "other weights" in found.remarks[0]

    def test_take_a_norm_along_whose_few_shifts_tell_nothing(self) -> None:
        parts = {
            f"{name}.{leaf}": numbers(*shape, seed=at)
            for at, name in enumerate("ab")
            for leaf, shape in (("weight", (1, 32)), ("bias", (1,)))
        }
        source = parts | {f"o.{i}.weight": numbers(16, 8, seed=500 + i) for i in range(3)}
        target = source | {key: source[other_name(key)].clone() for key in parts}
        assert takes(valued(source, target)) == {key: other_name(key) if key in parts else key for key in source}

    def test_about_a_model_and_its_average_are_seen_through(self) -> None:
        model = blocks(frozen=3)
        average = {key: moved(value, 0.02, seed=at) for at, (key, value) in enumerate(model.items())}
        source = {f"model.{key}": value for key, value in model.items()} | {f"ema.{key}": value for key, value in average.items()}
        found = valued(source, {key: moved(value, 5e-4, seed=70 + at) for at, (key, value) in enumerate(average.items())})
        assert takes(found) == {key: f"ema.{key}" for key in model}


def nearest(source: Weights, target: Weights, pairs: Sequence[tuple[str, str]], free: Sequence[str] = ()) -> NearElsewhere:
    """Of links `target <- source` which headers settled."""
    readers = StateDictReader(source), StateDictReader(target)
    samples, headers = Samples(*readers), (readers[0].header, readers[1].header)
    family = Family(tuple(Link((name,), (key,)) for key, name in pairs), 1.0, "")
    return near_elsewhere(list(strands(0, family, samples, *headers)), free, samples, *headers)


class TestNearElsewhere:
    A, B, C = (numbers(8, 8, seed=seed) for seed in range(3))
    PAIRS = (("x", "a"), ("y", "b"))

    def test_is_turned_where_both_sides_of_a_swap_are(self) -> None:
        found = nearest({"a": self.A, "b": self.B}, {"x": moved(self.B, 0.1), "y": moved(self.A, 0.1)}, self.PAIRS)
        assert found == NearElsewhere((Link(("b",), ("x",)), Link(("a",), ("y",))), ())

    def test_is_asked_where_another_stays_with_what_it_would_take(self) -> None:
        found = nearest({"a": self.A, "b": self.B}, {"x": moved(self.B, 0.1), "y": moved(self.B, 0.1, seed=5)}, self.PAIRS)
        assert not found.turned
        assert [strand.targets for strand in found.asked] == [("x",)]

    def test_is_asked_where_two_are_as_near(self) -> None:
        source = {"a": self.A, "b": self.B, "c": self.B.clone()}
        found = nearest(source, {"x": moved(self.B, 0.1), "y": moved(self.C, 0.1)}, self.PAIRS, ["c"])
        assert not found.turned
        assert [strand.targets for strand in found.asked] == [("x",)]

    def test_is_turned_to_what_is_free(self) -> None:
        found = nearest({"a": self.A, "c": self.C}, {"x": moved(self.C, 0.1)}, [("x", "a")], ["c"])
        assert found.turned == (Link(("c",), ("x",)),)

    def test_is_a_contradiction_though_it_is_near_here_too(self) -> None:
        here = moved(self.A, 0.3)
        found = nearest({"a": here, "c": moved(self.A, 1e-6)}, {"x": self.A}, [("x", "a")], ["c"])
        assert found.turned == (Link(("c",), ("x",)),)

    @pytest.mark.parametrize("size", [2, 4, 6])
    def test_is_chance_for_a_few_elements(self, size: int) -> None:
        wanted = numbers(size)
        found = nearest({"a": numbers(size, seed=1), "c": moved(wanted, 0.25)}, {"x": wanted}, [("x", "a")], ["c"])
        assert found == NearElsewhere((), ())

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
    def test_is_nothing_which_has_no_numbers_or_one_only(self, value: float) -> None:
        found = nearest({"a": self.A, "c": self.C}, {"x": torch.full((8, 8), value)}, [("x", "a")], ["c"])
        assert found == NearElsewhere((), ())

    @pytest.mark.parametrize("value", [torch.nan, -torch.inf])
    def test_is_found_though_one_element_is_no_number(self, value: float) -> None:
        wanted = self.C.clone()
        wanted[0, 0] = value
        assert nearest({"a": self.A, "c": self.C}, {"x": wanted}, [("x", "a")], ["c"]).turned == (Link(("c",), ("x",)),)

    def test_needs_another_of_the_same_shape(self) -> None:
        found = nearest({"a": self.A, "c": self.B.reshape(4, 16)}, {"x": moved(self.B, 0.1)}, [("x", "a")], ["c"])
        assert found == NearElsewhere((), ())
