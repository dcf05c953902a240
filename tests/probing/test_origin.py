"""Whether two files come of the same weights, and what is told of one held against the other."""

import pytest
import torch
from probed_models import numbers
from torch import Tensor

from ckpt_surgeon.mapping.links import Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.contradictions import contradicted
from ckpt_surgeon.probing.findings import Findings
from ckpt_surgeon.probing.origin import is_one_origin
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.strands import Standing, Strand

Weights = dict[str, Tensor]


def is_one(equal: Weights, others: Weights) -> bool:
    reader = StateDictReader(equal | others)
    links = [Link((key,), (key,)) for key in equal]
    return is_one_origin(links, list(others), Samples(reader, reader), reader.header)


def drawn(count: int, *shape: int, start: int = 0) -> Weights:
    return {f"{start}.{i}": numbers(*shape, seed=start + i) for i in range(count)}


class TestOneOrigin:
    @pytest.mark.parametrize(
        ("equal", "others"),
        [
            (drawn(3, 8), drawn(2, 8, start=50)),  # most
            (drawn(1, 8, 8), drawn(30, 8, start=50)),  # a share of the elements
            (drawn(2, 2), drawn(38, 8, start=50)),  # a share of the tensors
            (drawn(1, 8), {}),
        ],
    )
    def test_is_told_by_enough_of_what_is_equal(self, equal: Weights, others: Weights) -> None:
        assert is_one(equal, others)

    @pytest.mark.parametrize(
        ("equal", "others"),
        [
            ({}, drawn(2, 8)),
            ({}, {}),
            (drawn(1, 8), drawn(30, 8, start=50)),
            (drawn(2, 8), drawn(60, 8, start=50)),
            ({f"table.{i}": torch.arange(8.0) for i in range(40)}, drawn(30, 8, start=50)),  # one table, held by each layer
        ],
    )
    def test_is_not_told_by_less_nor_by_the_same_over_and_over(self, equal: Weights, others: Weights) -> None:
        assert not is_one(equal, others)

    def test_is_told_without_what_stands_between_two_ops(self) -> None:
        reader = StateDictReader(drawn(1, 8))
        links = [Link(("0.0",), ("between",)), Link(("between",), ("0.0",))]
        assert is_one_origin(links, [], Samples(reader, reader), reader.header)


def strand(key: str, standing: Standing) -> Strand:
    return Strand(0, (Link((f"s.{key}",), (key,)),), standing)


def moved(*keys: str) -> list[tuple[Link, ...]]:
    return [(Link(("elsewhere",), (key,)),) for key in keys]


class TestWhatIsTold:
    def test_counts_what_becomes_of_each(self) -> None:
        standings: dict[str, Standing] = {"a": "equal", "b": "unlike", "c": "unlike", "d": "near", "e": "unlike", "f": "near", "g": "mute"}
        known = [strand(key, standing) for key, standing in standings.items()]
        found = Findings(known, moved("b"), moved("c"), moved("d"), {"e": "doubt"}, is_same=True)
        assert found.remark() == (
            "values: 1 of 6 tensors which headers settled is equal on both sides; 1 is elsewhere, and turned there; 1 is near others, and"
            " turned there; 1 is of parts which are turned, and with them; 1 is near, as after some training; 1 is not, and open"
        )

    def test_is_nothing_where_the_values_say_nothing(self) -> None:
        assert Findings([strand("a", "mute")], [], [], []).remark() == ""

    def test_tells_why_the_rest_stands(self) -> None:
        assert Findings([strand("a", "unlike")], [], [], []).remark().endswith("so that what headers settled stands")
        assert Findings([strand("a", "unlike")], [], [], [], is_blank=True).remark().endswith("tell nothing")

    def test_tells_no_reason_where_nothing_is_left(self) -> None:
        assert Findings([strand("a", "unlike")], [], moved("a"), []).remark().endswith("1 is near others, and turned there")


class TestContradictions:
    SCALE, SHIFT = 1 + 0.1 * numbers(32), 0.1 * numbers(32, seed=1)

    def found(self, source: Weights, target: Weights) -> list[str]:
        readers = StateDictReader(source), StateDictReader(target)
        known = [Strand(0, (Link((key,), (key,)),), "unlike") for key in target]
        headers = readers[0].header, readers[1].header
        return [key for each in contradicted(known, Samples(*readers), *headers) for key in each.targets]

    def test_are_a_scale_and_a_shift_of_one_part_which_look_like_each_other(self) -> None:
        source = {"n.weight": self.SHIFT, "n.bias": self.SCALE}
        assert sorted(self.found(source, {"n.weight": torch.ones(32), "n.bias": torch.zeros(32)})) == ["n.bias", "n.weight"]

    @pytest.mark.parametrize(
        "source",
        [
            {"n.weight": SCALE, "n.bias": SHIFT},
            {"n.weight": SHIFT, "n.bias": SHIFT},  # a scale which is stored less one
            {"n.weight": SCALE, "n.bias": SCALE},
        ],
    )
    def test_are_no_honest_ones_nor_one_alone(self, source: Weights) -> None:
        assert self.found(source, {"n.weight": torch.ones(32), "n.bias": torch.zeros(32)}) == []

    def test_are_none_of_two_parts(self) -> None:
        source = {"m.weight": self.SHIFT, "n.bias": self.SCALE}
        assert self.found(source, {"m.weight": torch.ones(32), "n.bias": torch.zeros(32)}) == []
