"""Siblings under each other's names: which may be exchanged, and what a run proves of it."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from probed_models import trained
from torch import Tensor, nn

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.links import Change, Family, Link
from ckpt_surgeon.probing import Probe
from ckpt_surgeon.probing.swaps import swaps
from ckpt_surgeon.spec import Header, TensorSpec


def offered(shapes: Mapping[str, tuple[int, ...]], *parts: str, change: Mapping[str, Change] | None = None) -> list[dict[str, str]]:
    header = Header({key: TensorSpec.of("float32", *shape) for key, shape in shapes.items()})
    family = Family(tuple(Link((f"s.{key}",), (key,), (change or {}).get(key)) for key in shapes), 1.0, "names")
    return [swap.after for swap in swaps([family], header, parts)]


class TestWhatMayBeExchanged:
    def test_is_siblings_in_all_repetitions(self) -> None:
        shapes = {f"h.{i}.{name}.weight": (4, 4) for i in range(2) for name in ("a", "b")}
        (only,) = offered(shapes, "h.0.a")
        assert only == {key: f"s.{key.replace('.a.', '.#.').replace('.b.', '.a.').replace('.#.', '.b.')}" for key in shapes}

    def test_is_whole_towers_and_what_stands_in_them(self) -> None:
        shapes = {f"{tower}.{i}.{name}.weight": (4, 4) for tower in ("x", "y") for i in range(2) for name in ("a", "b")}
        assert sorted(map(len, offered(shapes, "x.0.a"))) == [4, 8]

    def test_is_nothing_of_other_shapes_or_names(self) -> None:
        assert offered({"a.weight": (4, 4), "b.weight": (4, 5), "c.scale": (4, 4)}, "a", "b", "c") == []

    def test_is_nothing_which_an_op_makes(self) -> None:
        shapes = {"a.weight": (4, 4), "b.weight": (4, 4)}
        assert offered(shapes, "a", change={"b.weight": Change("transpose")}) == []

    def test_is_no_repetition_nor_a_tensor_beside_others(self) -> None:
        assert offered({"h.0.weight": (4,), "h.1.weight": (4,), "h.0.bias": (4,)}, "h.0", "h.1") == []

    def test_is_in_the_parts_which_are_named(self) -> None:
        shapes = {f"{name}.weight": (4, 4) for name in "abcd"}
        assert [sorted(each) for each in offered(shapes, "a")] == [["a.weight", f"{name}.weight"] for name in "bcd"]


class Block(nn.Module):
    """Two maps and two norms. names: of the first map, the second, the first norm, the second."""

    def __init__(self, names: tuple[str, str, str, str]) -> None:
        super().__init__()
        self.names = names
        for name in sorted(names):
            self.add_module(name, nn.LayerNorm(8) if name.startswith("norm") else nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        one, two, first, second = (getattr(self, name) for name in self.names)
        return x + two(second(torch.tanh(one(first(x)))))


def net(*names: str) -> nn.Module:
    return nn.Sequential(*(Block(names) for _ in range(3)))  # type: ignore[arg-type]


def probed(source: nn.Module, target: nn.Module, **options: Any) -> surgeon.Suggestion:
    return surgeon.suggestion(source, target, probe=Probe("4x8", **options))


HONEST = ("map1", "map2", "norm1", "norm2")


class TestAProbe:
    @pytest.mark.parametrize(
        "names", [("map2", "map1", "norm1", "norm2"), ("map1", "map2", "norm2", "norm1"), ("map2", "map1", "norm2", "norm1")]
    )
    def test_sees_through_siblings_under_equal_names(self, names: tuple[str, ...]) -> None:
        source, target = trained(net(*HONEST)), net(*names)
        assert surgeon.suggestion(source, target).is_settled
        found = probed(source, target)
        assert found.is_settled
        assert found.is_confirmed
        assert {key: recipe.key for key, recipe in found.plan.recipes.items() if key.startswith("1.")} == {
            f"1.{mine}.{leaf}": f"1.{its}.{leaf}" for its, mine in zip(HONEST, names, strict=True) for leaf in ("weight", "bias")
        }
        assert "outputs equal on a random input; where names say they differ by" in found.text

    def test_leaves_honest_ones_alone(self) -> None:
        found = probed(trained(net(*HONEST)), net(*HONEST))
        assert found.is_confirmed
        assert found.rules.rules == ()

    def test_says_that_it_tried_and_leaves_another_answer_where_there_are_not_runs_enough(self) -> None:
        found = probed(trained(net(*HONEST)), net("map2", "map1", "norm1", "norm2"), most=1)
        assert found.is_confirmed is False
        assert "siblings under each other's names" in found.remarks[0]
        assert all(len(question.answers) > 1 for question in found.questions)
