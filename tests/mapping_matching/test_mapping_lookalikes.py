"""What fits as well as what names say, or better: turned namesakes, copies of all weights, grouped heads, kernels of either dim."""

import pytest
from headers import answers, doubts, header, questions

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.matching import match

Shapes = dict[str, tuple[int, ...]]
ORDERS = pytest.mark.parametrize("order", ["natural", "sorted"])


def given(shapes: Shapes, order: str) -> surgeon.Header:
    """The source's header, as it is or sorted."""
    return header(dict(sorted(shapes.items())) if order == "sorted" else shapes)


@ORDERS
@pytest.mark.parametrize("names", [("up_proj", "down_proj"), ("wi", "wo"), ("encode", "decode"), ("fc1", "fc2")])
def test_names_which_stay_are_turned_and_never_exchanged(names: tuple[str, str], order: str) -> None:
    up, down = names
    source = {f"h.{i}.{name}.weight": shape for i in range(3) for name, shape in ((up, (32, 64)), (down, (64, 32)))}
    target = {key: shape[::-1] for key, shape in source.items()}
    found = match(given(source, order), header(target))
    assert answers(found) == {key: (key,) for key in target}
    assert {link.change.op for family in found.families for link in family.links if link.change} == {"transpose"}


@ORDERS
def test_a_square_matrix_lies_as_its_turned_neighbors(order: str) -> None:
    source = {f"h.{i}.{name}.w": shape for i in range(3) for name, shape in (("q", (32, 32)), ("fc1", (32, 64)), ("fc2", (64, 32)))}
    target = {key.replace(".w", ".weight"): shape[::-1] for key, shape in source.items()}
    found = match(given(source, order), header(target))
    assert {key: key.replace(".weight", ".w") for key in target} == {key: sources[0] for key, sources in answers(found).items()}
    assert all(link.change is not None for family in found.families for link in family.links)


@ORDERS
def test_parts_are_not_joined_where_the_whole_has_a_namesake(order: str) -> None:
    source = {f"layer.{i}.{name}.weight": (32, 32) for i in range(2) for name in ("key", "value", "query")}
    source |= {f"layer.{i}.fc1.kernel": (32, 64) for i in range(2)}
    target = {key: shape for key, shape in source.items() if "fc1" not in key} | {f"layer.{i}.fc1.weight": (64, 32) for i in range(2)}
    found = match(given(source, order), header(target))
    assert not [link for family in found.families for link in family.links if link.change and link.change.op == "concat"]


@ORDERS
@pytest.mark.parametrize("copy", ["momentum_encoder", "teacher", "slow_net", "best"])
def test_a_copy_of_all_weights_is_a_question_with_both_as_answers(copy: str, order: str) -> None:
    target = {f"net.{i}.fc{j}.weight": (32, 32 * j) for i in range(3) for j in (1, 2)}
    source = {f"{prefix}.{key}": shape for prefix in ("online", copy) for key, shape in target.items()}
    found = surgeon.suggestion(given(source, order), header(target))
    assert not found.is_settled
    offered = {link.sources[0].split(".")[0] for question in found.questions for answer in question.answers for link in answer.links}
    assert offered == {"online", copy}


def test_a_copy_which_says_that_it_is_an_average_is_left_alone() -> None:
    target = {f"net.{i}.fc.weight": (32, 32) for i in range(3)}
    source = {f"{prefix}.{key}": shape for prefix in ("generator", "generator_ema") for key, shape in target.items()}
    found = match(header(source), header(target))
    assert answers(found) == {key: (f"generator.{key}",) for key in target}


def test_a_copy_of_a_part_only_is_no_copy_of_the_model() -> None:
    target = {f"blocks.{i}.fc.weight": (32, 32) for i in range(6)} | {"head.weight": (5, 32)}
    source = target | {f"aux.blocks.{i}.fc.weight": (32, 32) for i in range(2)}
    assert answers(match(header(source), header(target))) == {key: (key,) for key in target}


@pytest.mark.parametrize(("name", "is_asked"), [("up", True), ("deconv", True), ("main", False), ("conv", False)])
def test_the_dim_of_a_square_kernel_under_spectral_norm_is_asked_where_it_may_be_transposed(name: str, is_asked: bool) -> None:
    source = {f"{name}.{i}.weight_{x}": s for i in range(3) for x, s in (("orig", (16, 16, 4)), ("u", (16,)), ("v", (64,)))}
    found = match(header(source), header({f"{name}.{i}.weight": (16, 16, 4) for i in range(3)}))
    assert bool(questions(found)) == is_asked
    assert ("transposed convolution" in doubts(found)) == is_asked


def test_grouped_queries_keys_and_values_under_one_name_are_asked() -> None:
    source = {f"layers.{i}.attention.wqkv.weight": (64 + 2 * 16, 64) for i in range(2)}
    target = {f"layers.{i}.attn.{x}_proj.weight": (rows, 64) for i in range(2) for x, rows in (("q", 64), ("k", 16), ("v", 16))}
    assert answers(match(header(source), header(target))) == {}


@ORDERS
def test_a_head_of_another_name_is_new_where_all_else_keeps_its_name(order: str) -> None:
    body = {f"enc.{i}.fc.weight": (32, 32) for i in range(20)}
    found = match(given(body | {"sentiment.weight": (2, 32)}, order), header(body | {"toxicity.weight": (2, 32)}))
    assert answers(found) == {key: (key,) for key in body}


@ORDERS
def test_two_stacks_of_which_one_is_wrapped_are_asked(order: str) -> None:
    layer = {"q.weight": (8, 8), "k.weight": (8, 8, 3, 3)}
    source = {f"{stack}.{i}.attn.{leaf}": s for stack in ("down", "encoder.layer") for i in range(2) for leaf, s in layer.items()}
    target = {key.replace("down", "mol.tun").replace("encoder.layer", "zif"): shape for key, shape in source.items()}
    found = answers(match(given(source, order), header(target)))
    assert {
        key: sources for key, sources in found.items() if key != sources[0].replace("down", "mol.tun").replace("encoder.layer", "zif")
    } == {}


def pyramid(turned: bool, outputs: str = "output") -> tuple[Shapes, Shapes]:
    """Laterals whose shapes tell their order, and outputs of which they tell nothing."""
    source: Shapes = {}
    target: Shapes = {}
    for level in range(2, 6):
        place = 5 - level if turned else level - 2
        for name, other, shape in (("lateral", "lateral_convs", (32, 64 * 2**level, 1, 1)), (outputs, "fpn_convs", (32, 32, 3, 3))):
            source[f"backbone.fpn_{name}{level}.weight"] = target[f"neck.{other}.{place}.weight"] = shape
    return source, target


@ORDERS
def test_a_list_beside_one_which_is_turned_round_is_asked_with_both_directions(order: str) -> None:
    source, target = pyramid(turned=True)
    found = surgeon.suggestion(given(source, order), header(target))
    assert not found.is_settled
    sure = answers(match(given(source, order), header(target)))
    assert sure == {f"neck.lateral_convs.{5 - level}.weight": (f"backbone.fpn_lateral{level}.weight",) for level in range(2, 6)}
    offered = {(link.targets[0], link.sources[0]) for q in found.questions for answer in q.answers for link in answer.links}
    assert {(f"neck.fpn_convs.{5 - level}.weight", f"backbone.fpn_output{level}.weight") for level in range(2, 6)} <= offered


@ORDERS
def test_a_list_beside_one_which_rises_rises(order: str) -> None:
    source, target = pyramid(turned=False)
    assert answers(match(given(source, order), header(target))).keys() == target.keys()
