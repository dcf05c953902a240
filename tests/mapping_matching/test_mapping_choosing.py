"""Choices among parts of the same shapes: what names, places and customs tell, and how sure that makes it."""

import pytest
from headers import header

from ckpt_surgeon.mapping.calibration import EVEN, MIN_CONFIDENCE, chance
from ckpt_surgeon.mapping.choosing import Decision, Orders, choose, renumbered
from ckpt_surgeon.mapping.doubts import ROTARY, doubted
from ckpt_surgeon.mapping.evidence import Evidence, Kinship, Lexicon, Naming
from ckpt_surgeon.mapping.families import families
from ckpt_surgeon.mapping.layouts import EITHER_WAY, turn
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.runs import Run
from ckpt_surgeon.mapping.tree import Node, Trees

SILENT, TELLING = Orders(False, False, 0.5), Orders(True, True, 1.0)
Shape = tuple[int, ...]


def _modules(shapes: dict[str, Shape]) -> dict[str, Node]:
    return {".".join(node.path): node for node in Trees().tree(header(shapes)).modules}


def _nodes(*names: str, shape: Shape = (8, 8)) -> list[Node]:
    return list(_modules({f"{name}.weight": shape for name in names}).values())


def _chosen(targets: tuple[str, ...], sources: tuple[str, ...], orders: Orders = SILENT) -> list[Decision]:
    left, right = ([Run((node,)) for node in _nodes(*names)] for names in (targets, sources))
    return choose(left, right, [[0.0] * len(right) for _ in left], orders, -1.0)


def _pairs(decisions: list[Decision], targets: tuple[str, ...], sources: tuple[str, ...]) -> dict[str, str]:
    return {targets[each.row]: sources[each.column] for each in decisions}


NAMED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "queries, keys, values": (("q", "k", "v"), ("query", "key", "value")),
    "gates": (("gate_proj", "up_proj"), ("w1", "w3")),
    "two norms": (("norm1", "norm2"), ("ln_1", "ln_2")),
    "before and after": (("norm1", "norm2"), ("layernorm_before", "layernorm_after")),
    "in and out": (("proj_in", "proj_out"), ("conv_in", "conv_out")),
    "two directions": (("token_to_image", "image_to_token"), ("cross_token_to_image", "cross_image_to_token")),
}


@pytest.mark.parametrize("name", NAMED)
def test_names_decide_whatever_the_order(name: str) -> None:
    targets, sources = NAMED[name]
    for given in (sources, sources[::-1]):
        found = _chosen(targets, given)
        assert _pairs(found, targets, given) == dict(zip(targets, sources, strict=True))
        assert all(each.confidence >= MIN_CONFIDENCE for each in found)


UNNAMED = [(("a", "b"), ("x", "y")), (("foo", "bar", "baz"), ("one", "two", "three"))]


@pytest.mark.parametrize(("targets", "sources"), UNNAMED)
def test_without_names_and_places_nothing_is_sure(targets: tuple[str, ...], sources: tuple[str, ...]) -> None:
    assert all(each.confidence <= 0.5 for each in _chosen(targets, sources))


@pytest.mark.parametrize(("targets", "sources"), UNNAMED)
def test_places_lean_to_one_way_and_do_not_settle_it(targets: tuple[str, ...], sources: tuple[str, ...]) -> None:
    found = _chosen(targets, sources, TELLING)
    assert _pairs(found, targets, sources) == dict(zip(targets, sources, strict=True))
    assert all(0.5 < each.confidence < MIN_CONFIDENCE for each in found)
    assert all(each.rival is not None for each in found)


def test_what_says_first_and_last_is_the_first_and_the_last_of_what_is_counted() -> None:
    targets, sources = ("layers.0", "layers.1", "layers.2"), ("proj_in", "layers.0", "proj_out")
    found = _chosen(targets, sources)
    assert _pairs(found, targets, sources) == dict(zip(targets, sources, strict=True))


@pytest.mark.parametrize(
    ("targets", "sources", "are"),
    [
        (("m.0", "m.1", "m.2"), ("m.0", "m.1", "m.2"), False),
        (("m.0", "m.1", "m.2"), ("in", "m.0", "out"), True),
        (("a", "b"), ("x", "y"), False),
        (("m.0",), ("in", "m.0"), False),
    ],
)
def test_numbers_are_others_where_one_side_counts_what_the_other_names(
    targets: tuple[str, ...], sources: tuple[str, ...], are: bool
) -> None:
    left, right = ([Run((node,)) for node in _nodes(*names)] for names in (targets, sources))
    assert renumbered(left, right) is renumbered(right, left) is are


@pytest.mark.parametrize("rival", [True, False])
def test_a_larger_margin_is_surer(rival: bool) -> None:
    chances = [chance(margin / 10, rival) for margin in range(-5, 15)]
    assert chances == sorted(chances)
    assert all(0 < each < 1 for each in chances)


def test_an_even_margin_is_an_even_bet() -> None:
    assert chance(0.0, True) == chance(EVEN, False) == 0.5


def _match(target: Node, source: Node, confidence: float = 0.99) -> Match:
    return Match((target,), (source,), confidence, "told")


class TestTheLexicon:
    def test_knows_names_which_went_together_at_other_shapes(self) -> None:
        small, large = ([*_nodes("a.foo", shape=shape), *_nodes("b.bar", shape=shape)] for shape in ((4, 4), (9, 9)))
        trees = Trees()
        nodes = {
            shape: trees.tree(header({f"a.{shape}.foo.weight": (shape, 4), f"b.{shape}.bar.weight": (shape, 4)})).modules
            for shape in (5, 6, 7)
        }
        lexicon = Lexicon([_match(*nodes[5]), _match(*nodes[6])])
        assert lexicon.share(*nodes[7]) > 0.5
        assert lexicon.share(*nodes[7][::-1]) == 0
        assert small[0].path == large[0].path

    def test_does_not_learn_of_a_match_for_itself_nor_of_unsure_ones(self) -> None:
        foo, bar = Trees().tree(header({"a.foo.weight": (4, 4), "b.bar.weight": (4, 4)})).modules
        assert Lexicon([_match(foo, bar)]).share(foo, bar) == 0
        assert Lexicon([_match(foo, bar, 0.5)]).share(foo, bar) == 0
        assert Lexicon().share(foo, bar) == 0


class TestKinship:
    def test_brings_siblings_together(self) -> None:
        sources = _modules({"x.norm.weight": (8,), "x.conv.weight": (8, 8), "y.norm.weight": (8,), "y.conv.weight": (8, 8)})
        targets = _modules({"a.norm.weight": (8,), "a.conv.weight": (8, 8), "b.norm.weight": (8,), "b.conv.weight": (8, 8)})
        free = [targets["a.norm"], targets["b.norm"]], [sources["x.norm"], sources["y.norm"]]
        kinship = Kinship(free, [_match(targets["a.conv"], sources["y.conv"])])
        assert kinship.share(targets["a.norm"], sources["y.norm"]) > kinship.share(targets["a.norm"], sources["x.norm"])

    def test_of_many_siblings_tells_nothing(self) -> None:
        names = [f"m.{letter}" for letter in "abcdefgh"]
        left, right = _nodes(*names), _nodes(*names)
        assert Kinship((left[1:], right[1:]), [_match(left[0], right[0])]).share(left[1], right[1]) == 0


class TestNaming:
    def test_shows_in_many_sure_matches_only(self) -> None:
        names = tuple(f"part{letter}" for letter in "abcdef")
        nodes = _nodes(*names)
        assert Naming.of([_match(node, node) for node in nodes]) == Naming(1.0, 1.0)
        assert Naming.of([_match(node, node) for node in nodes[:4]]) == Naming()
        assert Naming.of([_match(node, node, 0.5) for node in nodes]) == Naming()

    def test_makes_strangers_of_other_names(self) -> None:
        strict, loose = (Evidence(SILENT, Lexicon(), naming) for naming in (Naming(1.0, 1.0), Naming()))
        head, other, same = _nodes("head", "queue_bank", "old.head")
        assert strict.strangeness(head, other) >= 1
        assert strict.strangeness(head, same) < 1
        assert loose.strangeness(head, other) == 0
        assert strict.estranged(head, other)
        assert not strict.estranged(head, same)
        assert not loose.estranged(head, other)

    def test_averages_are_less_welcome(self) -> None:
        evidence = Evidence(SILENT, Lexicon())
        plain, model, average = _nodes("net.a", "model.b", "ema.b")
        assert evidence.known(plain, model) > evidence.known(plain, average)
        assert evidence.known(average, average) > evidence.known(plain, average)


class TestSquareMatrices:
    def _turned(self, *shapes: tuple[str, Shape, Shape]) -> dict[str, Match]:
        made = []
        for name, before, after in shapes:
            source, target = (
                next(iter(_modules({f"b.0.{name}.weight": shape, f"b.0.{name}.bias": (1,)}).values())) for shape in (before, after)
            )
            made.append(_match(target, source))
        return {match.targets[0].path[-1]: match for match in turn(made)}

    def test_lie_as_all_others(self) -> None:
        found = self._turned(("up", (4, 8), (8, 4)), ("down", (8, 4), (4, 8)), ("out", (6, 6), (6, 6)))
        assert found["out"].turned
        assert found["out"].confidence < 0.99
        assert not found["up"].turned

    def test_stay_where_all_others_do(self) -> None:
        found = self._turned(("up", (4, 8), (4, 8)), ("out", (6, 6), (6, 6)))
        assert (found["out"].turned, found["out"].doubt, found["out"].confidence) == (False, "", 0.99)

    def test_are_asked_where_the_others_disagree(self) -> None:
        found = self._turned(("up", (4, 8), (8, 4)), ("down", (8, 4), (8, 4)), ("out", (6, 6), (6, 6)))
        assert found["out"].doubt == EITHER_WAY
        assert found["out"].confidence < MIN_CONFIDENCE


class TestDoubts:
    def test_rows_for_rotary_positions_where_names_of_queries_change(self) -> None:
        targets = _modules({"l.0.norm.weight": (8,), "l.0.q_proj.weight": (8, 8), "l.0.o_proj.weight": (8, 8)})
        sources = _modules({"l.0.norm.weight": (8,), "l.0.wq.weight": (8, 8), "l.0.wo.weight": (8, 8)})
        matches = [_match(*pair) for pair in zip(targets.values(), sources.values(), strict=True)]
        assert [match.doubt for match in doubted(matches)] == ["", ROTARY, ""]
        same = [_match(node, node) for node in targets.values()]
        assert not any(match.doubt for match in doubted(same))

    @pytest.mark.parametrize("more", [{"pos_embed": (9, 8)}, {"l.0.norm.bias": (8,)}, {"l.0.attn.rel_pos": (9, 8)}])
    def test_none_where_positions_or_norms_are_of_another_kind(self, more: dict[str, Shape]) -> None:
        targets = _modules({"l.0.norm.weight": (8,), "l.0.q_proj.weight": (8, 8), **more})
        sources = _modules({"l.0.norm.weight": (8,), "l.0.wq.weight": (8, 8), **more})
        matches = [_match(*pair) for pair in zip(targets.values(), sources.values(), strict=True)]
        assert not any(match.doubt for match in doubted(matches))

    def test_packing_by_heads_where_one_side_names_it(self) -> None:
        packed, plain = _nodes("a.query_key_value", "a.qkv", shape=(24, 8))
        assert "head by head" in doubted([_match(packed, plain)])[0].doubt
        assert not doubted([_match(packed, packed)])[0].doubt
        assert not doubted([_match(plain, plain)])[0].doubt


class TestFamilies:
    def test_are_one_for_each_place_with_the_confidence_of_the_least_sure(self) -> None:
        targets = _modules({f"blocks.{i}.{name}.weight": (8, 8) for i in range(3) for name in ("q", "k")})
        sources = _modules({f"h.{i}.{name}.weight": (8, 8) for i in range(3) for name in ("q", "k")})
        pairs = list(zip(targets.values(), sources.values(), strict=True))
        matches = [_match(*pair, 0.9 + at / 100) for at, pair in enumerate(pairs)]
        found = families(matches)
        assert [[link.targets[0] for link in family.links] for family in found] == [
            [f"blocks.{i}.{name}.weight" for i in range(3)] for name in ("q", "k")
        ]
        assert [family.confidence for family in found] == [0.9, 0.91]

    def test_keep_numbers_which_are_part_of_a_name_apart(self) -> None:
        nodes = list(_modules({f"b.{i}.norm{n}.weight": (8,) for i in range(2) for n in (1, 2)}).values())
        assert len(families([_match(node, node) for node in nodes])) == 2

    def test_name_the_rivals_as_alternatives(self) -> None:
        one, first, second = _nodes("t", "s.a", "s.b")
        (family,) = families([Match((one,), (first,), 0.6, "told", rivals=((second,),))])
        assert family.alternatives[0].links[0].sources == ("s.b.weight",)
        assert family.alternatives[0].confidence == pytest.approx(0.4)

    def test_without_rivals_have_none(self) -> None:
        one, first = _nodes("t", "s")
        (family,) = families([_match(one, first)])
        assert family.alternatives == ()
