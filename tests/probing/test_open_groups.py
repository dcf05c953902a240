"""Which decisions hang together, in which ways they may come out, and what of it becomes a mapping again."""

from collections.abc import Sequence

import pytest

from ckpt_surgeon.mapping.links import Alternative, Change, Family, Link, Mapping
from ckpt_surgeon.probing.groups import Group, open_groups
from ckpt_surgeon.probing.layouts import layouts, turned
from ckpt_surgeon.probing.second_looks import second_looks
from ckpt_surgeon.probing.settling import CERTAIN, doubted, settled, with_families
from ckpt_surgeon.probing.spare import spare_families
from ckpt_surgeon.spec import Header, TensorSpec

LEAST = 0.9


def header(**shapes: Sequence[int]) -> Header:
    """`a_weight=(8, 8)` is the key `a.weight`."""
    return Header({key.replace("_", "."): TensorSpec.of("float32", *shape) for key, shape in shapes.items()})


def same(target: str, source: str) -> tuple[Link, ...]:
    return (Link((f"{source}.weight",), (f"{target}.weight",)),)


def family(target: str, source: str, *others: str, confidence: float = 0.6, doubt: str = "") -> Family:
    return Family(same(target, source), confidence, "a guess", doubt, tuple(Alternative(same(target, other), 0.4) for other in others))


def squares(*names: str) -> Header:
    return header(**{f"{name}_weight": (8, 8) for name in names})


def sources(way: tuple[tuple[Link, ...], ...]) -> str:
    """The first letters of what a way takes."""
    return "".join(link.sources[0][0] for links in way for link in links)


def the_group(*families: Family, source: Header, target: Header) -> Group:
    (group,) = open_groups(families, LEAST, source, target)
    return group


class TestGroups:
    def test_two_which_may_take_each_other_s_source_are_one(self) -> None:
        group = the_group(family("x", "a", "b"), family("y", "b", "a"), source=squares("a", "b"), target=squares("x", "y"))
        assert group.members == (0, 1)
        assert [sources(way) for way in group.ways(10)] == ["ab", "ba"]

    def test_a_chain_of_neighbors_has_all_orders(self) -> None:
        families = family("x", "a", "b"), family("y", "b", "c"), family("z", "c", "b")
        group = the_group(*families, source=squares("a", "b", "c"), target=squares("x", "y", "z"))
        assert sorted(sources(way) for way in group.ways(10)) == ["abc", "acb", "bac", "bca", "cab", "cba"]

    def test_too_many_orders_are_not_counted_through(self) -> None:
        families = [family(target, source, "a") for target, source in zip("uvwxy", "abcde", strict=True)]
        group = the_group(*families, source=squares(*"abcde"), target=squares(*"uvwxy"))
        assert group.ways(64) is None
        assert len(group.ways(120)) == 120

    def test_near_ways_exchange_two(self) -> None:
        families = family("x", "a", "b"), family("y", "b", "c"), family("z", "c", "b")
        group = the_group(*families, source=squares("a", "b", "c"), target=squares("x", "y", "z"))
        assert {sources(way) for way in group.near(group.matched)} == {"bac", "cba", "acb"}

    def test_a_source_which_nothing_takes_is_near_by_itself(self) -> None:
        group = the_group(family("x", "a", "b"), source=squares("a", "b"), target=squares("x"))
        assert [sources(way) for way in group.near(group.matched)] == ["b"]

    def test_what_has_nothing_in_common_stays_apart(self) -> None:
        families = family("x", "a", "b"), family("y", "c", "d")
        groups = open_groups(families, LEAST, squares(*"abcd"), squares(*"xy"))
        assert [group.members for group in groups] == [(0,), (1,)]

    def test_what_is_sure_is_no_group_and_gives_nothing_away(self) -> None:
        families = family("x", "a", "b"), family("y", "b", confidence=0.99)
        group = the_group(*families, source=squares("a", "b"), target=squares("x", "y"))
        assert group.members == (0,)
        assert [sources(way) for way in (*group.ways(10),)[:1]] == ["a"]
        assert len(group.options[0]) == 1

    def test_one_doubt_about_several_is_one_group(self) -> None:
        families = [family(target, source, confidence=0.99, doubt="rows") for target, source in ("xa", "yb")]
        assert the_group(*families, source=squares("a", "b"), target=squares("x", "y")).members == (0, 1)

    def test_a_source_of_another_shape_is_no_way(self) -> None:
        families = family("x", "a", "b"), family("y", "b", "a")
        source, target = header(a_weight=(8, 8), b_weight=(4, 8)), header(x_weight=(8, 8), y_weight=(4, 8))
        assert [group.options for group in open_groups(families, LEAST, source, target)] == [((same("x", "a"),),), ((same("y", "b"),),)]

    def test_what_no_rule_can_carry_out_is_not_tried(self) -> None:
        source, target = header(a_weight=(8, 8), b_weight=(8, 8)), header(x_weight=(8, 7), y_weight=(8, 8))
        assert [group.members for group in open_groups((family("x", "a"), family("y", "b")), LEAST, source, target)] == [(1,)]

    def test_an_alternative_which_lacks_a_number_cannot_be_tried(self) -> None:
        open_end = Alternative((Link(("a.weight",), ("x.weight",), Change("rope_permute", (("source_layout", "half"),))),), 0.5)
        given = Family(same("x", "a"), 0.5, "", "rows", (open_end,))
        assert the_group(given, source=squares("a"), target=squares("x")).options == ((same("x", "a"),),)


class TestLayouts:
    def changes(self, shape: tuple[int, ...]) -> list[str]:
        found = layouts((same("x", "a"),), header(a_weight=shape), header(x_weight=shape))
        return [" ".join(link.change.op for links in way for link in links) for way in found]

    def test_a_square_matrix_may_be_turned(self) -> None:
        assert self.changes((8, 8))[0] == "transpose"
        assert "transpose" not in self.changes((8, 6))

    def test_rows_may_be_rotary_for_each_size_of_head(self) -> None:
        found = layouts((same("x", "a"),), header(a_weight=(12, 5)), header(x_weight=(12, 5)))
        turns = [links[0].change for (links,) in found if len(links) == 1]
        assert [dict(turn.parameters)["heads"] for turn in turns] == [1, 1, 2, 2, 3, 3]

    def test_three_parts_may_be_packed_both_ways(self) -> None:
        assert {"deinterleave concat", "split interleave"} <= set(self.changes((24, 5)))
        assert not {"deinterleave concat", "split interleave"} & set(self.changes((16, 5)))

    @pytest.mark.parametrize("shape", [(5, 7), (3,), (7, 3, 3, 3)])
    def test_others_have_none(self, shape: tuple[int, ...]) -> None:
        assert self.changes(shape) == []

    def test_heads_are_those_of_all_together(self) -> None:
        way = (same("x", "a"), same("y", "b"))
        shapes = {"a_weight": (24, 5), "b_weight": (8, 5)}
        found = layouts(way, header(**shapes), header(x_weight=(24, 5), y_weight=(8, 5)))
        turns = [[dict(links[0].change.parameters).get("heads") for links in each] for each in found]
        assert [3, 1] in turns
        assert [6, 2] in turns

    def test_turning_twice_is_nothing(self) -> None:
        way, source = (same("x", "a"),), squares("a")
        assert turned(turned(way, source), source) == way

    def test_square_matrices_are_asked_about_together_then_by_their_last_names(self) -> None:
        families = [family("x", "a"), family("y", "b"), Family((Link(("c.w",), ("z.weight",)),), 1.0, "")]
        source = header(a_weight=(8, 8), b_weight=(4, 8), c_w=(6, 6))
        looks = list(second_looks(families, source, header(x_weight=(8, 8), y_weight=(4, 8), z_weight=(6, 6))))
        assert [look.group.members for look in looks] == [(0, 2), (0,), (2,)]
        assert {look.what for look in looks} == {"square matrices transposed"}


class TestSpare:
    def mapping(self, source: Header, target: Header) -> Mapping:
        return Mapping((), tuple(target), tuple(source))

    def found(self, source: Header, target: Header) -> list[list[str]]:
        return [
            [each[0].sources[0] for each in (family.links, *(other.links for other in family.alternatives))]
            for family in spare_families(self.mapping(source, target), source, target)
        ]

    def test_each_place_starts_with_another_source(self) -> None:
        assert self.found(squares("a", "b"), squares("x", "y")) == [["a.weight", "b.weight"], ["b.weight", "a.weight"]]

    def test_repetitions_go_together(self) -> None:
        source = header(**{f"l_{i}_a_weight": (8, 8) for i in (0, 1)})
        target = header(**{f"b_{i}_x_weight": (8, 8) for i in (0, 1)})
        (family,) = spare_families(self.mapping(source, target), source, target)
        assert [link.sources + link.targets for link in family.links] == [
            ("l.0.a.weight", "b.0.x.weight"),
            ("l.1.a.weight", "b.1.x.weight"),
        ]
        assert family.confidence == 0

    @pytest.mark.parametrize(
        ("source", "target"),
        [
            (header(a_weight=(8, 8)), header(x_weight=(8, 4))),
            (header(a_weight=(8,)), header(x_bias=(8,))),
            (header(a_0_weight=(8,)), header(x_0_weight=(8,), x_1_weight=(8,))),
            (header(a_weight=(8,)), header(x_weight=(8,), x_bias=(8,))),
        ],
    )
    def test_what_does_not_fit_is_no_decision(self, source: Header, target: Header) -> None:
        assert self.found(source, target) == []


class TestSettling:
    def test_what_is_settled_is_certain_and_without_doubt(self) -> None:
        families = [family("x", "a", "b", doubt="which"), family("y", "b", "a")]
        group = Group((0, 1), ((), ()), ())
        found = settled(families, group, (same("x", "b"), same("y", "a")), "outputs are equal")
        assert [(each.confidence, each.doubt, each.alternatives) for each in found] == [(CERTAIN, "", ())] * 2
        assert [each.links for each in found] == [same("x", "b"), same("y", "a")]
        assert families[0].doubt == "which"

    def test_a_doubt_stands_beside_another(self) -> None:
        families = [family("x", "a", doubt="which"), family("y", "b")]
        assert [each.doubt for each in doubted(families, (0,), "no run tells")] == ["which; no run tells", ""]

    @pytest.mark.parametrize(("most", "wanted"), [(None, 0.6), (0.5, 0.5), (0.9, 0.6)])
    def test_a_doubt_may_lower_the_confidence_and_never_raises_it(self, most: float | None, wanted: float) -> None:
        assert doubted([family("x", "a")], (0,), "astray", most)[0].confidence == wanted

    def test_the_mapping_is_in_target_order_and_says_what_is_left(self) -> None:
        found = with_families([family("y", "b"), family("x", "a")], squares("a", "b", "c"), squares("x", "y", "z"))
        assert [each.links for each in found.families] == [same("x", "a"), same("y", "b")]
        assert (found.missing, found.unused) == (("z.weight",), ("c.weight",))

    def test_what_is_taken_for_certain_is_no_alternative(self) -> None:
        certain = Family(same("y", "b"), CERTAIN, "")
        found = with_families([family("x", "a", "b", "c"), certain], squares(*"abc"), squares("x", "y"))
        assert [each.links for each in found.families[0].alternatives] == [same("x", "c")]
