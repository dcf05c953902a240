"""What is one tensor on one side and several on the other: which parts, in which order, and when it is a question."""

import pytest
from headers import header, layers

from ckpt_surgeon.mapping.calibration import MIN_CONFIDENCE
from ckpt_surgeon.mapping.links import Change
from ckpt_surgeon.mapping.matches import Match
from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.parts import match_parts
from ckpt_surgeon.mapping.tree import Node, Trees

Shapes = dict[str, tuple[int, ...]]


def _modules(*sides: Shapes) -> list[tuple[Node, ...]]:
    trees = Trees()
    return [trees.tree(header(side)).modules for side in sides]


def _found(source: Shapes, target: Shapes) -> list[Match]:
    sources, targets = _modules(source, target)
    return match_parts(targets, sources)


def _names(nodes: tuple[Node, ...]) -> str:
    return " ".join(".".join(node.path) for node in nodes)


def _said(matches: list[Match]) -> list[tuple[str, str, str]]:
    return [(match.form, _names(match.sources), _names(match.targets)) for match in matches]


QKV = layers("attn.", {"q": (8, 8), "k": (8, 8), "v": (8, 8)})
FUSED: dict[str, tuple[Shapes, Shapes, list[tuple[str, str, str]]]] = {
    "three parts": (QKV, layers("attn.", {"qkv": (24, 8)}), [("concat", "attn.q attn.k attn.v", "attn.qkv")]),
    "in the order of their names' meaning, not of the file": (
        layers("self.", {"value_proj": (8, 8), "key_proj": (8, 8), "query_proj": (8, 8)}),
        layers("attn.", {"in_proj": (24, 8)}),
        [("concat", "self.query_proj self.key_proj self.value_proj", "attn.in_proj")],
    ),
    "few heads for keys and values": (
        layers("attn.", {"wq": (32, 8), "wk": (8, 8), "wv": (8, 8)}),
        layers("attn.", {"wqkv": (48, 8)}),
        [("concat", "attn.wq attn.wk attn.wv", "attn.wqkv")],
    ),
    "keys and values alone": (
        layers("attn.", {"q": (8, 8), "k": (8, 8), "v": (8, 8)}),
        layers("attn.", {"q": (8, 8), "kv": (16, 8)}),
        [("concat", "attn.k attn.v", "attn.kv")],
    ),
    "gate and up": (
        layers("mlp.", {"gate_proj": (20, 8), "up_proj": (20, 8)}),
        layers("mlp.", {"gate_up_proj": (40, 8)}),
        [("concat", "mlp.gate_proj mlp.up_proj", "mlp.gate_up_proj")],
    ),
    "kernels of convolutions": (
        layers("attn.", {"q": (8, 8, 1, 1), "k": (8, 8, 1, 1), "v": (8, 8, 1, 1)}),
        layers("attn.", {"qkv": (24, 8, 1, 1)}),
        [("concat", "attn.q attn.k attn.v", "attn.qkv")],
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_parts_are_joined_and_the_whole_is_split_again(name: str) -> None:
    apart, whole, wanted = FUSED[name]
    assert _said(_found(apart, whole)) == wanted
    assert _said(_found(whole, apart)) == [("split", one, parts) for _, parts, one in wanted]


NOT_FUSED: dict[str, tuple[Shapes, Shapes]] = {
    "sizes do not add up": (QKV, layers("attn.", {"qkv": (32, 8)})),
    "other inputs": (QKV, layers("attn.", {"qkv": (24, 16)})),
    "a part is lacking": (layers("attn.", {"q": (8, 8), "v": (8, 8)}), layers("attn.", {"qkv": (16, 8)})),
    "parts of several blocks": (
        layers("a.", {"q": (8, 8), "k": (8, 8)}) | layers("b.", {"v": (8, 8)}),
        layers("attn.", {"qkv": (24, 8)}),
    ),
    "a bias which the parts lack": ({f"attn.{x}.weight": (8, 8) for x in "qkv"}, layers("attn.", {"qkv": (24, 8)})),
    "names which say nothing": (layers("a.", {"x": (8, 8), "y": (8, 8), "z": (8, 8)}), layers("a.", {"xyz": (24, 8)})),
    "two wholes of this shape and no name": (QKV, layers("attn.", {"one": (24, 8), "other": (24, 8)})),
    "numbers without dims": ({"attn.q": (), "attn.k": (), "attn.v": ()}, {"attn.qkv": ()}),
}


@pytest.mark.parametrize("name", NOT_FUSED)
def test_what_does_not_add_up_or_is_not_named_so_is_left_alone(name: str) -> None:
    apart, whole = NOT_FUSED[name]
    assert _found(apart, whole) == _found(whole, apart) == []


def test_of_two_wholes_of_this_shape_the_named_one_is_taken() -> None:
    (match,) = _found(QKV, layers("attn.", {"mlp_in": (24, 8), "qkv": (24, 8)}))
    assert _names(match.targets) == "attn.qkv"


def test_a_whole_which_is_named_so_is_surer_than_one_which_is_not() -> None:
    named, unnamed = (_found(QKV, layers("attn.", {name: (24, 8)}))[0] for name in ("qkv", "weights"))
    assert named.confidence > unnamed.confidence
    assert not named.doubt
    assert not unnamed.doubt


def test_a_whole_is_taken_once() -> None:
    two = layers("a.", {"q": (8, 8), "k": (8, 8), "v": (8, 8)}) | layers("b.", {"q": (8, 8), "k": (8, 8), "v": (8, 8)})
    assert len(_found(two, layers("attn.", {"qkv": (24, 8)}))) == 1


def test_what_is_packed_head_by_head_by_its_name_is_a_doubt() -> None:
    (match,) = _found(QKV, layers("attn.", {"query_key_value": (24, 8)}))
    assert "head by head" in match.doubt
    assert match.confidence == 0.5


def _experts(*names: str, count: int = 3, shapes: dict[str, tuple[int, ...]] | None = None) -> Shapes:
    sizes = {"w1": (10, 8), "w2": (8, 10), "w3": (10, 8), **(shapes or {})}
    return {f"experts.{e}.{name}.weight": sizes[name] for e in range(count) for name in names}


STACKED: dict[str, tuple[Shapes, Shapes, list[tuple[str, str]]]] = {
    "one layer": (_experts("w2"), {"experts.w2": (3, 8, 10)}, [("experts.0.w2 experts.1.w2 experts.2.w2", "experts.w2")]),
    "which lies the other way": (
        _experts("w2"),
        {"experts.down": (3, 10, 8)},
        [("experts.0.w2 experts.1.w2 experts.2.w2", "experts.down")],
    ),
    "two of one shape, told apart by names": (
        _experts("w1", "w3", count=2),
        {"experts.up": (2, 10, 8), "experts.gate": (2, 10, 8)},
        [("experts.0.w3 experts.1.w3", "experts.up"), ("experts.0.w1 experts.1.w1", "experts.gate")],
    ),
    "gate before up in each": (
        _experts("w3", "w1", count=2),
        {"experts.gate_up_proj": (2, 20, 8)},
        [("experts.0.w1 experts.0.w3 experts.1.w1 experts.1.w3", "experts.gate_up_proj")],
    ),
}


@pytest.mark.parametrize("name", STACKED)
def test_experts_are_stacked_by_their_numbers_and_unstacked(name: str) -> None:
    apart, whole, wanted = STACKED[name]
    assert _said(_found(apart, whole)) == [("stack", *pair) for pair in wanted]
    assert _said(_found(whole, apart)) == [("unstack", one, parts) for parts, one in wanted]
    assert not any(match.doubt for match in _found(apart, whole))


NOT_STACKED: dict[str, tuple[Shapes, Shapes]] = {
    "fewer than there are": (_experts("w2"), {"experts.w2": (2, 8, 10)}),
    "one": (_experts("w2", count=1), {"experts.w2": (1, 8, 10)}),
    "other sizes": (_experts("w2"), {"experts.w2": (3, 8, 12)}),
    "two of one shape without a name": (_experts("w1", "w3"), {"experts.x": (3, 10, 8), "experts.y": (3, 10, 8)}),
    "a whole with a bias": (_experts("w2"), {"experts.w2.weight": (3, 8, 10), "experts.w2.bias": (3, 8)}),
}


@pytest.mark.parametrize("name", NOT_STACKED)
def test_what_is_no_stack_is_left_alone(name: str) -> None:
    apart, whole = NOT_STACKED[name]
    assert _found(apart, whole) == _found(whole, apart) == []


def test_halves_without_names_are_a_doubt_about_their_order() -> None:
    halves = {f"experts.{e}.{name}.weight": (10, 8) for e in range(2) for name in ("a", "b")}
    (match,) = _found(halves, {"experts.both": (2, 20, 8)})
    assert "first" in match.doubt
    assert (match.confidence, match.parts) == (0.5, 2)


def test_numbers_count_as_numbers_not_as_words() -> None:
    (match,) = _found(_experts("w2", count=12), {"experts.w2": (12, 8, 10)})
    assert [node.numbers[0] for node in match.sources] == list(range(12))


SQUARE = {f"layers.{i}.experts.{e}.{name}_proj.weight": (8, 8) for i in range(2) for e in range(3) for name in ("gate", "up", "down")}


def _wholes(both: tuple[int, ...], down: tuple[int, ...]) -> Shapes:
    return {f"blocks.{i}.experts.{name}_proj": shape for i in range(2) for name, shape in (("gate_up", both), ("down", down))}


@pytest.mark.parametrize(("both", "is_turned"), [((3, 16, 8), False), ((3, 8, 16), True)])
def test_square_experts_lie_as_the_others_do(both: tuple[int, ...], is_turned: bool) -> None:
    for source, target in ((SQUARE, _wholes(both, (3, 8, 8))), (_wholes(both, (3, 8, 8)), SQUARE)):
        mapping = match(header(source), header(target))
        (down,) = [family for family in mapping.families if "down_proj" in family.links[0].sources[0]]
        assert down.confidence >= MIN_CONFIDENCE
        assert any(link.change == Change("transpose", (("dims", (1, 2)),)) for link in down.links) is is_turned


def test_square_experts_alone_may_lie_either_way() -> None:
    source = {key: shape for key, shape in SQUARE.items() if "down" in key}
    mapping = match(header(source), header({f"blocks.{i}.experts.down_proj": (3, 8, 8) for i in range(2)}))
    (family,) = mapping.families
    assert "transposed" in family.doubt
    assert [link.change and link.change.op for link in family.links] == ["stack", "stack"]
    assert [link.change and link.change.op for link in family.alternatives[0].links] == ["stack", "transpose"] * 2


def test_a_whole_which_may_be_one_of_the_modules_beside_the_parts_is_left_to_them() -> None:
    parts = layers("a.", {"k": (8, 8), "v": (8, 8), "fc": (16, 8)})
    assert _found(layers("a.", {"x": (16, 8)}), parts) == []
    (named,) = _found(layers("a.", {"kv": (16, 8)}), parts)
    assert _names(named.targets) == "a.k a.v"
