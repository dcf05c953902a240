"""Tensors of equal values under whatever names; and of all which values settle nothing is wrong, however names lie."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from probed_models import numbers, saved
from torch import Tensor

import ckpt_surgeon as surgeon
from ckpt_surgeon.evaluation import Evaluator
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.equals import equal_links, told_apart
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.sources import open_source

Weights = Mapping[str, Tensor]


def found(source: Weights, target: Weights) -> list[Link]:
    readers = StateDictReader(source), StateDictReader(target)
    return equal_links(target, source, Samples(*readers), *readers)


def pairs(source: Weights, target: Weights) -> set[tuple[str, str, str]]:
    return {(link.sources[0], link.targets[0], link.change.op if link.change else "") for link in found(source, target)}


A, B = numbers(20, 30), numbers(20, 30, seed=1)
FAR = numbers(40, 40)  # of which not all is sampled
ALIKE = FAR.clone().index_put_((torch.tensor(20), torch.tensor(33)), torch.tensor(7.0))


class TestEqualLinks:
    @pytest.mark.parametrize(
        ("source", "target", "wanted"),
        [
            ({"a": A, "b": B}, {"x": B, "y": A}, {("b", "x", ""), ("a", "y", "")}),
            ({"a": A}, {"x": A, "y": A.clone()}, {("a", "x", ""), ("a", "y", "")}),
            ({"a": A}, {"x": B}, set()),
            ({"a": A}, {"x": A.T.contiguous()}, {("a", "x", "transpose")}),
            ({"a": A}, {"x": A.reshape(600)}, set()),
            ({"a": FAR}, {"x": FAR.T.contiguous()}, {("a", "x", "transpose")}),
            ({"a": FAR + FAR.T}, {"x": FAR + FAR.T}, {("a", "x", "")}),  # no transpose where it is the same
            ({"a": FAR}, {"x": ALIKE}, set()),
            ({"a": FAR}, {"x": ALIKE.T.contiguous()}, set()),
            ({"a": A.bfloat16()}, {"x": A}, {("a", "x", "")}),
            ({"a": A}, {"x": A.half().T.contiguous()}, {("a", "x", "transpose")}),
            ({"a": torch.ones(20)}, {"x": torch.ones(20)}, set()),
            ({"a": torch.arange(20)}, {"x": torch.arange(20)}, set()),
            ({"a": numbers(3)}, {"x": numbers(3)}, set()),
            ({"a": torch.zeros(0, 8)}, {"x": torch.zeros(0, 8)}, set()),
            ({"a": numbers(1, 8)}, {"x": numbers(8, 1)}, set()),
        ],
    )
    def test_are_of_equal_values_and_nothing_else(self, source: Weights, target: Weights, wanted: set[tuple[str, str, str]]) -> None:
        assert pairs(source, target) == wanted

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".shards"])
    def test_are_the_same_in_files(self, tmp_path: Path, suffix: str) -> None:
        weights = {"a": A, "b": B, "c": FAR}
        target = StateDictReader({"x": A.T.contiguous(), "y": B, "z": FAR.T.contiguous()})
        with open_source(saved(weights, tmp_path / f"model{suffix}")) as reader:
            links = equal_links(target.header, reader.header, Samples(reader, target), reader, target)
        turn = Change("transpose")
        assert set(links) == {Link(("a",), ("x",), turn), Link(("b",), ("y",)), Link(("c",), ("z",), turn)}

    def test_are_told_apart_where_neither_end_is_in_another(self) -> None:
        links = [Link((name,), (key,)) for name, key in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z"), ("d", "w"))]
        assert told_apart(links) == [links[2]]


def _lying(chance: random.Random) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A target, and its weights as a source, some parts of one form under each other's names, some matrices turned, a copy beside them."""
    size = chance.choice([4, 8])
    parts: dict[str, dict[str, Tensor]] = {"embed": {"weight": torch.randn(11, size)}, "head": {"weight": torch.randn(5, size)}}
    for block in range(chance.randint(1, 3)):
        for name in chance.sample(["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"], chance.randint(2, 5)):
            shift = chance.choice([torch.zeros(size), torch.randn(size)])
            parts[f"layers.{block}.{name}"] = {"weight": torch.randn(size, size), "bias": shift}
        for name in chance.sample(["norm1", "norm2", "norm3"], chance.randint(1, 3)):
            scale = chance.choice([torch.ones(size), 1 + 0.1 * torch.randn(size)])
            parts[f"layers.{block}.{name}"] = {"weight": scale, "bias": torch.zeros(size)}
    names = _shuffled([name for name in parts if name.startswith("layers")], chance)
    target = {f"{name}.{leaf}": value for name, part in parts.items() for leaf, value in part.items()}
    source = {f"{names.get(name, name)}.{leaf}": value.clone() for name, part in parts.items() for leaf, value in part.items()}
    if chance.random() < 0.4:
        source = {
            key: value.T.contiguous() if value.shape == (size, size) and chance.random() < 0.5 else value for key, value in source.items()
        }
    if chance.random() < 0.3:
        source |= {f"ema.{key}": value + chance.choice([0.0, 1e-3]) for key, value in source.items()}
    return source, target


def _shuffled(names: list[str], chance: random.Random) -> dict[str, str]:
    """Some of the parts of one form (norms, or layers) -> each other's names."""
    kinds = [[name for name in names if ("norm" in name) == is_norm] for is_norm in (True, False)]
    found: dict[str, str] = {}
    for kind in kinds:
        some = chance.sample(kind, min(len(kind), chance.choice([0, 2, 3, len(kind)])))
        found |= dict(zip(some, chance.sample(some, len(some)), strict=True))
    return found


@pytest.mark.parametrize("seed", range(25))
def test_what_values_settle_is_right_however_names_lie(seed: int) -> None:
    torch.manual_seed(seed)
    source, target = _lying(random.Random(seed))
    found = surgeon.suggestion(source, target, values=True)
    assert found.plan is not None
    evaluator = Evaluator({"": StateDictReader(source)})
    assert all(torch.equal(evaluator.tensor(recipe).reshape(target[key].shape), target[key]) for key, recipe in found.plan.recipes.items())
    assert len(found.plan.recipes) > len(target) / 2
