"""How far what links make is from what the target has, and which decisions that settles."""

from collections.abc import Mapping
from math import inf, nan

import pytest
import torch
from torch import Tensor

from ckpt_surgeon.mapping import links as mappings
from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.gaps import EQUAL, Gaps
from ckpt_surgeon.probing.values import valued

Weights = Mapping[str, Tensor]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gap(source: Tensor, target: Tensor, change: Change | None = None) -> float:
    gaps = Gaps(StateDictReader({"a": source}), StateDictReader({"x": target}))
    return gaps.gap((Link(("a",), ("x",), change),))


class _Counting(StateDictReader):
    """A reader which keeps the names of what is read."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.asked: list[str] = []

    def read(self, key: str) -> Tensor:
        self.asked.append(key)
        return super().read(key)


class TestAGap:
    def test_of_equal_values_is_nothing(self) -> None:
        assert gap(numbers(8, 6), numbers(8, 6)) == 0

    def test_is_relative_to_what_the_target_has(self) -> None:
        wanted = numbers(8, 6)
        assert gap(1.25 * wanted, wanted) == pytest.approx(0.25)
        assert gap(1e-6 * wanted, 8e-7 * wanted) == pytest.approx(0.25)

    @pytest.mark.parametrize(
        ("change", "made"),
        [
            (Change("transpose"), numbers(8, 8).T.contiguous()),
            (Change("reshape", (("shape", (4, 16)),)), numbers(8, 8).reshape(4, 16)),
            (Change("unsqueeze", (("dims", (2,)),)), numbers(8, 8)[..., None]),
        ],
    )
    def test_is_taken_after_the_op(self, change: Change, made: Tensor) -> None:
        assert gap(numbers(8, 8), made, change) == 0

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_of_a_change_of_dtype_is_nothing(self, dtype: torch.dtype) -> None:
        assert gap(numbers(8, 6), numbers(8, 6).to(dtype)) == 0
        assert gap(numbers(8, 6).to(dtype), numbers(8, 6)) == 0

    def test_of_rounding_within_one_dtype_is_one(self) -> None:
        assert gap(numbers(8, 6), numbers(8, 6).bfloat16().float()) > EQUAL

    def test_of_all_links_together_is_their_common_one(self) -> None:
        first, second = numbers(4), numbers(4, seed=1)
        gaps = Gaps(StateDictReader({"a": first, "b": second}), StateDictReader({"x": first, "y": 1.1 * second}))
        found = gaps.gap((Link(("a",), ("x",)), Link(("b",), ("y",))))
        assert 0 < found < 0.1
        assert found == pytest.approx(float(0.1 * second.norm() / torch.cat([first, 1.1 * second]).norm()), rel=1e-5)

    @pytest.mark.parametrize("wanted", [torch.ones(8, 6), torch.zeros(8, 6), torch.zeros(8, 0), torch.tensor(3.0)])
    def test_from_constants_is_infinite_for_they_tell_nothing(self, wanted: Tensor) -> None:
        assert gap(wanted.clone(), wanted) == inf

    @pytest.mark.parametrize("odd", [nan, inf])
    def test_from_numbers_which_are_none_is_infinite(self, odd: float) -> None:
        broken = numbers(8, 6)
        broken[0, 0] = odd
        assert gap(broken, numbers(8, 6)) == inf
        assert gap(numbers(8, 6), broken) == inf

    def test_of_masks_is_one_of_their_finite_numbers(self) -> None:
        mask = numbers(8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), -inf)
        assert gap(mask.clone(), mask) == 0
        assert gap(mask * 2, mask) == pytest.approx(1.0)

    def test_of_complex_numbers_counts_both_parts(self) -> None:
        real, imaginary = numbers(8, 6), numbers(8, 6, seed=1)
        wanted = torch.complex(real, imaginary)
        assert gap(wanted.clone(), wanted) == 0
        assert gap(wanted.conj().resolve_conj(), wanted) > 0.5

    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.uint16, torch.float8_e4m3fn])
    def test_of_other_dtypes_is_taken_too(self, dtype: torch.dtype) -> None:
        first, second = (numbers(8, 6, seed=seed).mul(3).abs().round().to(dtype) for seed in (0, 1))
        assert gap(first, first.clone()) == 0
        assert gap(second, first) > 0.1


class TestWhatAGapReads:
    def test_a_pair_is_measured_once(self) -> None:
        source, target = _Counting({"a": numbers(4, 4)}), _Counting({"x": numbers(4, 4)})
        gaps = Gaps(source, target)
        first, again = (gaps.gap((Link(("a",), ("x",)),)) for _ in range(2))
        assert first == again
        assert (source.asked, target.asked) == (["a"], ["x"])

    @pytest.mark.parametrize(("rows", "count"), [(64, 1), (2, 3)])
    def test_links_which_are_far_off_are_read_no_further_than_shows_it(self, rows: int, count: int) -> None:
        weights = {name: numbers(rows, 8, seed=place) for place, name in enumerate("abcxyz")}
        source, target = (_Counting({name: weights[name] for name in names}) for names in ("abc", "xyz"))
        pairs = tuple(Link((name,), (key,)) for name, key in zip("abc", "xyz", strict=True))
        assert Gaps(source, target).gap(pairs) > 0.5
        assert len(source.asked) == count

    def test_a_source_is_not_read_for_a_constant(self) -> None:
        source = _Counting({"a": numbers(8)})
        assert Gaps(source, StateDictReader({"x": torch.ones(8)})).gap((Link(("a",), ("x",)),)) == inf
        assert source.asked == []


def mapping(confidence: float = 0.6) -> mappings.Mapping:
    """x takes a, or b; y takes b, or a."""
    families = [
        Family((Link((own,), (key,)),), confidence, "a guess", "", (Alternative((Link((other,), (key,)),), 0.4),))
        for key, own, other in (("x", "a", "b"), ("y", "b", "a"))
    ]
    return mappings.Mapping(tuple(families))


def taken(source: Weights, target: Weights, confidence: float = 0.6) -> dict[str, str]:
    """Target key -> source key of what is settled."""
    found = valued(mapping(confidence), StateDictReader(source), StateDictReader(target), 0.9)
    return {link.targets[0]: link.sources[0] for family in found.families if family.confidence >= 0.9 for link in family.links}


class TestADecision:
    a, b = numbers(8, 6), numbers(8, 6, seed=1)

    def test_is_made_for_the_way_which_gives_the_values(self) -> None:
        assert taken({"a": self.a, "b": self.b}, {"x": self.a, "y": self.b}) == {"x": "a", "y": "b"}
        assert taken({"a": self.a, "b": self.b}, {"x": self.b, "y": self.a}) == {"x": "b", "y": "a"}

    def test_is_made_for_the_way_which_is_far_nearer(self) -> None:
        assert taken({"a": self.a, "b": self.b}, {"x": 1.1 * self.b, "y": 1.1 * self.a}) == {"x": "b", "y": "a"}

    def test_is_not_made_between_two_which_are_about_as_near(self) -> None:
        between = self.a + 0.1 * self.b
        near = {"a": self.a, "b": self.a + 0.15 * self.b}
        assert taken(near, {"x": between, "y": between.clone()}) == {}

    def test_is_not_made_between_twins_which_hold_the_same(self) -> None:
        assert taken({"a": self.a, "b": self.a.clone()}, {"x": self.a, "y": self.a.clone()}) == {}

    def test_is_not_made_between_twins_which_rounding_makes_the_same(self) -> None:
        twins = {"a": self.a, "b": self.a + 1e-3 * self.b}
        assert taken(twins, {"x": self.a.bfloat16(), "y": twins["b"].bfloat16()}) == {}

    def test_takes_no_source_twice(self) -> None:
        assert taken({"a": self.a, "b": self.b}, {"x": self.a, "y": 1.01 * self.a}) == {"x": "a"}

    @pytest.mark.parametrize("odd", [nan, inf])
    def test_is_made_for_the_other_one_where_some_numbers_are_none(self, odd: float) -> None:
        broken = self.a.clone()
        broken[0, 0] = odd
        assert taken({"a": broken, "b": self.b}, {"x": self.b, "y": self.a})["x"] == "b"

    def test_which_is_sure_is_left_alone_whatever_the_values(self) -> None:
        assert taken({"a": self.a, "b": self.b}, {"x": self.b, "y": self.a}, confidence=0.95) == {"x": "a", "y": "b"}

    @pytest.mark.parametrize("wanted", [torch.zeros(8, 6), torch.zeros(8, 0), torch.tensor(2.0)])
    def test_is_not_made_by_what_tells_nothing(self, wanted: Tensor) -> None:
        weights = {"a": wanted.clone(), "b": wanted.clone()}
        assert taken(weights, {"x": wanted, "y": wanted.clone()}) == {}
