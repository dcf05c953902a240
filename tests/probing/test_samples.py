"""Samples of tensors: the same places on both sides, read by ranges; how those of one stand to those of the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from probed_models import numbers, saved
from torch import Tensor

from ckpt_surgeon.disk import InputFile
from ckpt_surgeon.mapping.links import Change, Link
from ckpt_surgeon.mapping.writing.proving import wanted_recipes
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.planning import Recipe, Source
from ckpt_surgeon.probing.samples import Samples, compared, is_number, narrower
from ckpt_surgeon.sources import open_source
from ckpt_surgeon.spec import DTYPES, Opaque, TensorSpec

PLAIN = Source("a", TensorSpec.of("float32", 8))


def recipe_of(source: Tensor, target: Tensor, change: Change | None = None) -> Recipe:
    links = (Link(("a",), ("x",), change),)
    return wanted_recipes(links, StateDictReader({"a": source}).header, StateDictReader({"x": target}).header)["x"]


class TestPlaces:
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".shards"])
    @pytest.mark.parametrize("shape", [(3,), (16, 16), (257,), (40, 50), (7, 11, 13)])
    def test_are_the_same_in_a_file_and_in_memory(self, tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
        weights = {"b": numbers(5, seed=3), "a": numbers(*shape), "c": numbers(9)}
        with open_source(saved(weights, tmp_path / f"model{suffix}")) as reader:
            samples = Samples(reader, StateDictReader(weights))
            assert torch.equal(samples.given("a"), samples.wanted("a"))

    @pytest.mark.parametrize("shape", [(3,), (256,), (16, 16)])
    def test_are_all_of_a_small_tensor(self, shape: tuple[int, ...]) -> None:
        tensor = numbers(*shape)
        assert torch.equal(Samples(StateDictReader({"a": tensor}), StateDictReader({})).given("a"), tensor.flatten())

    def test_are_a_few_of_a_large_one_from_its_first_to_its_last(self) -> None:
        sample = Samples(StateDictReader({"a": torch.arange(100_000.0)}), StateDictReader({})).given("a")
        assert len(sample) == 256
        assert (sample[0], sample[-1]) == (0, 99_999)
        assert len(sample.unique()) == 256

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool])
    def test_keep_their_dtype(self, tmp_path: Path, dtype: torch.dtype) -> None:
        tensor = numbers(20, 30).mul(3).to(dtype)
        with open_source(saved({"a": tensor}, tmp_path / "model.pt")) as reader:
            sample = Samples(reader, StateDictReader({})).given("a")
        assert sample.dtype == dtype
        assert torch.equal(sample.double()[:32], tensor.double().flatten()[:32])


class TestWhatALinkMakes:
    @pytest.mark.parametrize(
        ("change", "made"),
        [
            (None, lambda a: a),
            (Change("transpose"), lambda a: a.T.contiguous()),
            (Change("reshape", (("shape", (2000,)),)), lambda a: a.flatten()),
            (Change("reshape", (("shape", (40, 50, 1, 1)),)), lambda a: a[..., None, None]),
        ],
    )
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_is_sampled_after_its_op(self, tmp_path: Path, suffix: str, change: Change | None, made: Callable[[Tensor], Tensor]) -> None:
        a = numbers(40, 50)
        target = StateDictReader({"x": made(a)})
        recipe = recipe_of(a, made(a), change)
        with open_source(saved({"a": a}, tmp_path / f"model{suffix}")) as reader:
            samples = Samples(reader, target)
            assert torch.equal(samples.made(recipe, target.header.tensors["x"]), samples.wanted("x"))

    def test_of_several_tensors_is_sampled_across_them(self, tmp_path: Path) -> None:
        weights = {name: numbers(30, 20, seed=at) for at, name in enumerate("qkv")}
        target = StateDictReader({"x": torch.cat(list(weights.values()))})
        links = (Link(("q", "k", "v"), ("x",), Change("concat", (("dim", 0),))),)
        with open_source(saved(weights, tmp_path / "model.safetensors")) as reader:
            recipe = wanted_recipes(links, reader.header, target.header)["x"]
            samples = Samples(reader, target)
            assert torch.equal(samples.made(recipe, target.header.tensors["x"]), samples.wanted("x"))

    @pytest.mark.parametrize("change", [None, Change("reshape", (("shape", (1_000_000,)),))])
    def test_is_read_by_ranges_where_bytes_only_move(self, tmp_path: Path, monkeypatch: Any, change: Change | None) -> None:
        a = numbers(1000, 1000)
        target = StateDictReader({"x": a if change is None else a.flatten()})
        recipe = recipe_of(a, target.read("x"), change)
        amounts: list[int] = []
        read = InputFile.read
        with open_source(saved({"a": a}, tmp_path / "model.safetensors")) as reader:
            monkeypatch.setattr(InputFile, "read", lambda self, offset, n: (amounts.append(n), read(self, offset, n))[1])
            Samples(reader, target).made(recipe, target.header.tensors["x"])
        assert 0 < sum(amounts) <= 4 * 256  # of 4 MB


class TestHowSamplesStand:
    @pytest.mark.parametrize(
        ("found", "wanted", "standing"),
        [
            (numbers(8), numbers(8), "equal"),
            (numbers(8).half(), numbers(8), "equal"),
            (numbers(8), numbers(8).bfloat16(), "equal"),
            (numbers(8).double(), numbers(8), "equal"),
            (numbers(8) * (1 + 1e-8), numbers(8), "equal"),
            (numbers(8) + 0.05 * numbers(8, seed=1), numbers(8), "near"),
            (numbers(8, seed=1), numbers(8), "unlike"),
            (1 + 1e-3 * numbers(8, seed=1), 1 + 1e-3 * numbers(8), "unlike"),  # scales are near each other, and yet strangers
            (1 + 1e-3 * numbers(8), 1 + 1e-3 * numbers(8), "equal"),
            (torch.zeros(8), torch.zeros(8), "mute"),
            (torch.ones(8), torch.ones(8), "mute"),
            (torch.zeros(8), torch.ones(8), "unlike"),
            (numbers(8), torch.zeros(8), "unlike"),
            (torch.tensor([2.0]), torch.tensor([2.0]), "mute"),
            (torch.tensor([2.0]), torch.tensor([3.0]), "unlike"),
            (torch.full((8,), torch.nan), numbers(8), "unlike"),
            (numbers(8).index_fill(0, torch.tensor([2]), torch.nan), numbers(8).index_fill(0, torch.tensor([2]), torch.nan), "equal"),
            (numbers(8).index_fill(0, torch.tensor([2]), torch.inf), numbers(8).index_fill(0, torch.tensor([2]), torch.inf), "equal"),
            (numbers(8).index_fill(0, torch.tensor([2]), torch.inf), numbers(8), "unlike"),
        ],
    )
    def test_to_those_of_the_target(self, found: Tensor, wanted: Tensor, standing: str) -> None:
        assert compared(found, wanted, PLAIN) == standing

    def test_is_no_contradiction_where_an_op_was_to_change_the_values(self) -> None:
        found, wanted = numbers(8), numbers(8, seed=1)
        change = Change("adapt_in_channels", (("mode", "mean"), ("in_channels", 5)))
        recipe = recipe_of(numbers(4, 3, 2, 2), numbers(4, 5, 2, 2), change)
        assert compared(found, wanted, PLAIN) == "unlike"
        assert compared(found, wanted, recipe) == "mute"
        assert compared(found, found, recipe) == "equal"


@pytest.mark.parametrize(
    ("spec", "is_one"),
    [
        (TensorSpec.of("float32", 2, 3), True),
        (TensorSpec.of("float8_e4m3fn", 2), True),
        (TensorSpec.of("float32"), True),
        (TensorSpec.of("float32", 0, 3), False),
        (TensorSpec.of("int64", 2), False),
        (TensorSpec.of("bool", 2), False),
        (TensorSpec.of("complex64", 2), False),
        (TensorSpec.of("uint4", 2), False),
        (Opaque("set"), False),
    ],
)
def test_only_real_floats_tell_of_weights(spec: Any, is_one: bool) -> None:
    assert is_number(spec) == is_one


@pytest.mark.parametrize(
    ("names", "narrowest"),
    [
        (("float32", "float16"), torch.float16),
        (("float16", "bfloat16"), torch.bfloat16),
        (("float64", "float32"), torch.float32),
        (("float32",), torch.float32),
    ],
)
def test_the_type_of_the_fewest_digits(names: tuple[str, ...], narrowest: torch.dtype) -> None:
    assert narrower([DTYPES[name] for name in names]) == narrowest
