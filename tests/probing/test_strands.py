"""What of a decision is right or wrong by itself, and what goes with a part which is turned."""

from collections.abc import Mapping

import pytest
import torch
from probed_models import numbers
from torch import Tensor

from ckpt_surgeon.mapping.links import Change, Family, Link
from ckpt_surgeon.model import StateDictReader
from ckpt_surgeon.probing.companions import companions, torn
from ckpt_surgeon.probing.orders import laid_otherwise
from ckpt_surgeon.probing.samples import Samples
from ckpt_surgeon.probing.strands import Strand, strands

Weights = Mapping[str, Tensor]
CONCAT = Change("concat", (("dim", 0),))


def strands_of(source: Weights, target: Weights, *links: Link) -> list[Strand]:
    readers = StateDictReader(source), StateDictReader(target)
    return list(strands(3, Family(links, 1.0, ""), Samples(*readers), readers[0].header, readers[1].header))


class TestStrands:
    def test_are_links_by_themselves(self) -> None:
        a, b = numbers(8), numbers(8, seed=1)
        links = Link(("a",), ("x",)), Link(("b",), ("y",))
        found = strands_of({"a": a, "b": b}, {"x": a, "y": a}, *links)
        assert found == [Strand(3, (links[0],), "equal"), Strand(3, (links[1],), "unlike")]

    def test_are_links_which_keys_of_neither_header_join(self) -> None:
        q, k = numbers(8, 8), numbers(8, 8, seed=1)
        links = (
            Link(("q",), ("q.turned",), Change("transpose")),
            Link(("a",), ("x",)),
            Link(("k",), ("k.turned",), Change("transpose")),
            Link(("q.turned", "k.turned"), ("qk",), CONCAT),
        )
        target = {"qk": torch.cat([q.T, k.T]), "x": torch.zeros(4)}
        first, second = strands_of({"q": q, "k": k, "a": torch.zeros(4)}, target, *links)
        assert {first.standing, second.standing} == {"mute", "equal"}
        joined = first if len(first.links) > 1 else second
        assert set(joined.links) == {links[0], links[2], links[3]}
        assert joined.targets[-1] == "qk"
        assert not joined.is_single

    def test_are_not_joined_by_a_key_of_the_source_which_the_target_has_too(self) -> None:
        a, b = numbers(8), numbers(8, seed=1)
        links = Link(("a",), ("b",)), Link(("b",), ("a",))
        found = strands_of({"a": a, "b": b}, {"a": b, "b": a}, *links)
        assert [strand.links for strand in found] == [(links[0],), (links[1],)]
        assert {strand.standing for strand in found} == {"equal"}

    def test_stand_as_the_worst_of_their_tensors_does(self) -> None:
        packed = numbers(9, 4)
        split = Link(("qkv",), ("q", "k", "v"), Change("split", (("dim", 0),)))
        parts = dict(zip("qkv", packed.split(3), strict=True))
        (equal,) = strands_of({"qkv": packed}, parts, split)
        (unlike,) = strands_of({"qkv": packed}, parts | {"k": numbers(3, 4, seed=1)}, split)
        assert (equal.standing, unlike.standing) == ("equal", "unlike")

    def test_of_what_cannot_be_carried_out_are_none(self) -> None:
        assert strands_of({"a": numbers(8)}, {"x": numbers(4)}, Link(("a",), ("x",))) == []

    @pytest.mark.parametrize(
        ("link", "is_single", "is_plain"),
        [
            (Link(("a",), ("x",)), True, True),
            (Link(("a",), ("x",), Change("transpose")), True, False),
            (Link(("a", "b"), ("x",), CONCAT), False, False),
        ],
    )
    def test_of_one_tensor_are_single_and_without_an_op_plain(self, link: Link, is_single: bool, is_plain: bool) -> None:
        strand = Strand(0, (link,), "equal")
        assert (strand.is_single, strand.is_plain) == (is_single, is_plain)


def norm(name: str, shift: float = 0.0, seed: int = 0) -> dict[str, Tensor]:
    return {f"{name}.weight": numbers(8, seed=seed), f"{name}.bias": torch.full((8,), shift)}


def followers(source: Weights, target: Weights, turned: Mapping[str, str]) -> dict[str, str]:
    """Target key -> source key of what follows, where a mapping says `x.leaf` of `x.leaf` and some keys are turned."""
    readers = StateDictReader(source), StateDictReader(target)
    samples, headers = Samples(*readers), (readers[0].header, readers[1].header)
    families = [Family((Link((key,), (key,)),), 1.0, "") for key in target if key in source]
    known = [strand for at, family in enumerate(families) for strand in strands(at, family, samples, *headers)]
    links = [(Link((name,), (key,)),) for key, name in turned.items()]
    return {link.targets[0]: link.sources[0] for (link,) in companions(known, links, samples, *headers)}


class TestCompanions:
    TARGET = norm("a", seed=1) | norm("b", seed=2)
    SOURCE = norm("a", seed=2) | norm("b", seed=1)

    def test_go_with_the_part_to_which_they_belong(self) -> None:
        turned = {"a.weight": "b.weight", "b.weight": "a.weight"}
        assert followers(self.SOURCE, self.TARGET, turned) == {"a.bias": "b.bias", "b.bias": "a.bias"}

    def test_stay_where_another_takes_what_they_would(self) -> None:
        assert followers(self.SOURCE, self.TARGET, {"a.weight": "b.weight"}) == {}

    def test_stay_where_the_values_there_are_others(self) -> None:
        turned = {"a.weight": "b.weight", "b.weight": "a.weight"}
        assert followers(self.SOURCE | {"a.bias": torch.ones(8)}, self.TARGET | {"a.bias": torch.ones(8)}, turned) == {}

    def test_go_where_they_are_nearer_there(self) -> None:
        turned = {"a.weight": "b.weight", "b.weight": "a.weight"}
        shifts = {"a.bias": numbers(8, seed=3), "b.bias": numbers(8, seed=4)}
        trained = {"a.bias": shifts["b.bias"] + 0.1, "b.bias": shifts["a.bias"] - 0.1}
        assert followers(self.SOURCE | shifts, self.TARGET | trained, turned) == {"a.bias": "b.bias", "b.bias": "a.bias"}

    def test_stay_where_the_part_comes_from_two(self) -> None:
        turned = {"a.weight": "b.weight", "a.scale": "c.weight"}
        assert followers(self.SOURCE, self.TARGET, turned) == {}

    def test_go_to_a_part_which_nothing_takes(self) -> None:
        source = self.SOURCE | norm("c", seed=1)
        assert followers(source, self.TARGET, {"a.weight": "c.weight"}) == {"a.bias": "c.bias"}

    @pytest.mark.parametrize("count", [torch.tensor(7), torch.tensor(0)])
    def test_are_counts_too(self, count: Tensor) -> None:
        counts = {f"{name}.num_batches_tracked": count for name in ("a", "b")}
        turned = {"a.weight": "b.weight", "b.weight": "a.weight"}
        assert "a.num_batches_tracked" in followers(self.SOURCE | counts, self.TARGET | counts, turned)


class TestTorn:
    def left(self, target: Weights, source: Weights, turned: Mapping[str, str]) -> list[str]:
        readers = StateDictReader(source), StateDictReader(target)
        samples, headers = Samples(*readers), (readers[0].header, readers[1].header)
        families = [Family((Link((key,), (key,)),), 1.0, "") for key in target]
        known = [strand for at, family in enumerate(families) for strand in strands(at, family, samples, *headers)]
        return [key for strand in torn(known, [(Link((name,), (key,)),) for key, name in turned.items()]) for key in strand.targets]

    def test_is_what_stays_unlike_of_a_part_which_is_turned(self) -> None:
        source, target = norm("a", seed=2), norm("a", seed=1) | {"a.bias": numbers(8, seed=7)}
        assert self.left(target, source, {"a.weight": "b.weight"}) == ["a.bias"]

    def test_is_nothing_which_is_equal_or_of_another_part(self) -> None:
        source = norm("a", seed=2) | norm("b", seed=3)
        target = norm("a", seed=1) | norm("b", seed=4)
        assert self.left(target, source, {"a.weight": "b.weight"}) == []


class TestOtherOrders:
    def ways(self, source: Weights, target: Weights, link: Link) -> list[tuple[Link, ...]]:
        return list(laid_otherwise([Strand(0, (link,), "unlike")], StateDictReader(source), StateDictReader(target)))

    def test_of_more_parts_than_four_are_not_tried(self) -> None:
        parts = {name: numbers(4, 8, seed=at) for at, name in enumerate("abcde")}
        target = {"x": torch.cat([parts[name] for name in "bacde"])}
        assert self.ways(parts, target, Link(tuple(parts), ("x",), CONCAT)) == []

    def test_of_unequal_parts_are_those_which_fit(self) -> None:
        parts = {"q": numbers(8, 8), "k": numbers(4, 8, seed=1), "v": numbers(4, 8, seed=2)}
        target = {"x": torch.cat([parts[name] for name in "qvk"])}
        assert self.ways(parts, target, Link(("q", "k", "v"), ("x",), CONCAT)) == [(Link(("q", "v", "k"), ("x",), CONCAT),)]

    def test_which_make_nothing_equal_are_none(self) -> None:
        assert self.ways({"a": numbers(8, 8)}, {"x": numbers(8, 8, seed=1)}, Link(("a",), ("x",))) == []
