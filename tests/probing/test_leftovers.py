"""What is left over on both sides: paired by equal values, or as scales and shifts where a fresh target tells which is which."""

from collections.abc import Iterable, Mapping

import pytest
import torch
from torch import Tensor

from ckpt_surgeon.mapping.links import Family, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.leftovers import SAME, found_by_value

Weights = Mapping[str, Tensor]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def families(source: Weights, target: Weights, links: Iterable[Link] = ()) -> list[Family]:
    return found_by_value(list(target), list(source), StateDictReader(source), StateDictReader(target), links)


def paired(source: Weights, target: Weights, links: Iterable[Link] = ()) -> dict[str, str]:
    """Target key -> source key, with the op where there is one."""
    found = [link for family in families(source, target, links) for link in family.links]
    return {link.targets[0]: " ".join([link.sources[0], link.change.op] if link.change else link.sources) for link in found}


class TestEqualValues:
    def test_are_a_pair_whatever_the_names(self) -> None:
        a, b = numbers(8, 4), numbers(8, 4, seed=1)
        assert paired({"a": a, "b": b}, {"x": b, "y": a}) == {"x": "b", "y": "a"}

    def test_in_another_layout_are_a_pair_with_an_op(self) -> None:
        a, b, c = (numbers(8, 4, seed=seed) for seed in range(3))
        target = {"x": a.T.contiguous(), "y": b.reshape(8, 4, 1, 1), "z": c}
        assert paired({"a": a, "b": b, "c": c}, target) == {"x": "a transpose", "y": "b reshape", "z": "c"}

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_in_a_wider_dtype_are_a_pair(self, dtype: torch.dtype) -> None:
        a = numbers(8, 4).bfloat16().to(dtype)
        assert paired({"a": a}, {"x": a.double()}) == {"x": "a"}

    def test_which_rounding_has_changed_are_none(self) -> None:
        assert paired({"a": numbers(8, 4)}, {"x": numbers(8, 4).bfloat16()}) == {}

    def test_in_another_order_are_none(self) -> None:
        assert paired({"a": numbers(8, 4)}, {"x": numbers(8, 4).flip(0)}) == {}

    @pytest.mark.parametrize("twins", ["source", "target"])
    def test_which_several_hold_are_none(self, twins: str) -> None:
        one, two = {"a": numbers(8, 4)}, {"x": numbers(8, 4), "y": numbers(8, 4)}
        assert paired(*((two, one) if twins == "source" else (one, two))) == {}

    @pytest.mark.parametrize("shape", [(3,), (), (0, 8), (1, 3)])
    def test_of_a_few_elements_are_chance(self, shape: tuple[int, ...]) -> None:
        assert paired({"a": numbers(*shape)}, {"x": numbers(*shape)}) == {}

    @pytest.mark.parametrize("value", [0.0, 1.0, 0.5, torch.nan])
    def test_which_are_one_number_tell_nothing(self, value: float) -> None:
        assert paired({"a": torch.full((8,), value)}, {"x": torch.full((8,), value)}) == {}

    def test_among_which_some_are_no_numbers_are_none(self) -> None:
        broken = numbers(8)
        broken[2] = torch.nan
        assert paired({"a": broken}, {"x": broken.clone()}) == {}

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.uint16, torch.bool, torch.float8_e4m3fn])
    def test_of_other_dtypes_are_a_pair(self, dtype: torch.dtype) -> None:
        a, b = (numbers(8, 4, seed=seed).mul(3).abs().round().to(dtype) for seed in (0, 1))
        assert paired({"a": a, "b": b}, {"x": b, "y": a}) == {"x": "b", "y": "a"}

    def test_of_ids_are_told_apart_however_large(self) -> None:
        ids = torch.arange(8) + (1 << 30)
        assert paired({"a": ids, "b": ids + 1}, {"x": ids + 1, "y": ids}) == {"x": "b", "y": "a"}
        assert paired({"a": ids}, {"x": ids + 1}) == {}

    def test_of_double_precision_are_told_apart_however_near(self) -> None:
        fine = numbers(8).double()
        assert paired({"a": fine}, {"x": fine + 1e-12}) == {}

    def test_of_complex_numbers_are_told_apart_by_both_parts(self) -> None:
        wave = torch.complex(numbers(8), numbers(8, seed=1))
        other = wave.conj().resolve_conj()
        assert paired({"a": wave, "b": other}, {"x": other, "y": wave}) == {"x": "b", "y": "a"}
        assert paired({"a": wave}, {"x": other}) == {}
        assert paired({"a": wave}, {"x": wave.real.contiguous()}) == {}

    def test_of_repeated_blocks_are_one_decision(self) -> None:
        source = {f"layers.{i}.gamma": numbers(8, seed=i) for i in range(3)}
        target = {f"blocks.{i}.scale": numbers(8, seed=i) for i in range(3)}
        (family,) = families(source, target)
        assert [link.sources[0] for link in family.links] == list(source)
        assert (family.confidence, family.why) == (1.0, SAME)

    def test_of_different_places_are_different_decisions(self) -> None:
        source, target = {"a": numbers(8), "b": numbers(8, seed=1)}, {"x": numbers(8), "y": numbers(8, seed=1)}
        assert len(families(source, target)) == 2


def trained_scale(seed: int = 0) -> Tensor:
    return 1 + 0.1 * numbers(16, seed=seed)


def trained_shift(seed: int = 0) -> Tensor:
    return 0.1 * numbers(16, seed=seed)


class TestScalesAndShifts:
    linked = (Link(("block.0.layer.weight",), ("unit.0.layer.weight",)), Link(("block.0.n",), ("unit.0.n",)))

    def found(self, source: Weights, target: Weights) -> dict[str, str]:
        return paired(source, target, self.linked)

    @pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
    def test_are_told_apart(self, names: tuple[str, str]) -> None:
        source = dict(sorted({f"block.0.{names[0]}": trained_scale(), f"block.0.{names[1]}": trained_shift()}.items()))
        target = {"unit.0.t": torch.zeros(16), "unit.0.s": torch.ones(16)}
        assert self.found(source, target) == {"unit.0.s": f"block.0.{names[0]}", "unit.0.t": f"block.0.{names[1]}"}

    def test_are_likely_and_say_by_what(self) -> None:
        (family,) = families({"block.0.a": trained_scale()}, {"unit.0.s": torch.ones(16)}, self.linked)
        assert family.confidence == 0.95
        assert family.why == "the only scale of its shape here on both sides, by its values"

    def test_of_parts_which_nothing_links_are_none(self) -> None:
        assert paired({"block.0.a": trained_scale()}, {"unit.0.s": torch.ones(16)}) == {}

    @pytest.mark.parametrize(
        ("given", "fresh"),
        [
            (trained_scale(), torch.zeros(16)),  # a scale is no shift
            (trained_shift(), torch.ones(16)),
            (-trained_scale(), torch.ones(16)),  # a scale is positive
            (20 * trained_scale(), torch.ones(16)),  # and about 1
            (0.01 * trained_scale(), torch.ones(16)),
            (trained_scale() - 0.5, torch.zeros(16)),  # a shift lies about 0
            (trained_scale(), torch.full((16,), 0.5)),  # what was built so may be anything
            (trained_scale(), numbers(16)),
            (trained_scale()[:8], torch.ones(16)),
            (torch.full((16,), torch.nan), torch.ones(16)),
            (torch.complex(trained_scale(), trained_shift()), torch.ones(16)),
        ],
    )
    def test_which_do_not_look_it_are_none(self, given: Tensor, fresh: Tensor) -> None:
        assert self.found({"block.0.a": given}, {"unit.0.s": fresh}) == {}

    @pytest.mark.parametrize("more", ["source", "target"])
    def test_of_which_several_fit_are_none(self, more: str) -> None:
        source, target = {"block.0.a": trained_scale()}, {"unit.0.s": torch.ones(16)}
        extra = ({"block.0.b": trained_scale(1)}, {}) if more == "source" else ({}, {"unit.0.t": torch.ones(16)})
        assert self.found(source | extra[0], target | extra[1]) == {}

    def test_of_other_shapes_do_not_disturb(self) -> None:
        source = {"block.0.a": trained_scale(), "block.0.b": trained_scale()[:8]}
        target = {"unit.0.s": torch.ones(16), "unit.0.t": torch.ones(8)}
        assert self.found(source, target) == {"unit.0.s": "block.0.a", "unit.0.t": "block.0.b"}

    def test_of_more_repetitions_on_one_side_are_none(self) -> None:
        source = {f"block.{i}.a": trained_scale(i) for i in range(3)}
        target = {f"unit.{i}.s": torch.ones(16) for i in range(2)}
        assert self.found(source, target) == {}

    def test_of_the_same_repetitions_go_together(self) -> None:
        source = {f"block.{i}.a": trained_scale(i) for i in range(12)}
        target = {f"unit.{i}.s": torch.ones(16) for i in range(12)}
        assert self.found(source, target) == {f"unit.{i}.s": f"block.{i}.a" for i in range(12)}


class TestWhatIsRead:
    def test_nothing_whose_size_the_other_side_lacks(self) -> None:
        source, target = _Refusing({"a": numbers(8), "huge": numbers(64)}), _Refusing({"x": numbers(8), "large": numbers(32)})
        found = found_by_value(["x", "large"], ["a", "huge"], source, target, ())
        assert [family.links for family in found] == [(Link(("a",), ("x",)),)]

    def test_nothing_at_all_where_nothing_is_left(self) -> None:
        source, target = _Refusing({"huge": numbers(64)}), _Refusing({"large": numbers(32)})
        assert found_by_value([], ["huge"], source, target, ()) == []
        assert found_by_value(["large"], [], source, target, ()) == []

    def test_no_entry_which_is_no_tensor(self) -> None:
        source, target = {"a": numbers(8), "step": 3}, {"x": numbers(8), "epoch": 3}
        assert paired(source, target) == {"x": "a"}


class _Refusing(StateDictReader):
    """A reader whose large tensors are not to be touched."""

    def read(self, key: str) -> Tensor:
        assert key not in ("huge", "large")
        return super().read(key)
