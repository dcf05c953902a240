"""Each op which shapes ask for, as the rule which a person would write; and what no op makes fit, which is new."""

from typing import Any

import pytest
import yaml
from headers import header
from side_by_side import ORDERS, Pair, side_by_side

import ckpt_surgeon as surgeon
from ckpt_surgeon.mapping.matching import match

Rules = list[dict[str, Any]]

_BODY = """
    stem             | stem             | 16x3x7x7 wb
    blocks.{i}.norm  | blocks.{i}.norm  | 24 wb
    blocks.{i}.fc    | blocks.{i}.fc    | 48x24 wb
"""
_TWO = [{"i": 0}, {"i": 1}]

# The row beside the body, and the rules for it.
OPS: dict[str, tuple[str, Rules]] = {
    "turned": ("blocks.{i}.up.weight | blocks.{i}.up.weight | 24x96 > 96x24 .", [{"transpose": {"match": "blocks.*.up.weight"}}]),
    "turned and renamed": (
        "blocks.{i}.c_up.weight | blocks.{i}.up.weight | 24x96 > 96x24 .",
        [{"rename": {"blocks.{i:int}.c_up.weight": "blocks.{i}.up.weight"}}, {"transpose": {"match": "blocks.*.up.weight"}}],
    ),
    "ones put in": (
        "blocks.{i}.gamma | blocks.{i}.gamma | 24 > 24x1x1 .",
        [{"reshape": {"match": "blocks.*.gamma", "shape": "target"}}],
    ),
    "a convolution as a layer": (
        "head | head | 10x24x1x1 > 10x24 wb",
        [{"reshape": {"match": "head.weight", "shape": "target"}}],
    ),
    "a layer as a convolution": (
        "head | head | 10x24 > 10x24x1x1 wb",
        [{"reshape": {"match": "head.weight", "shape": "target"}}],
    ),
    "patches as a matrix": (
        "patch.proj | patch.proj | 24x3x4x4 > 24x48 wb",
        [{"reshape": {"match": "patch.proj.weight", "shape": "target"}}],
    ),
    "queries, keys and values together": (
        "blocks.{i}.a.q + blocks.{i}.a.k + blocks.{i}.a.v | blocks.{i}.a.qkv | 24x24 wb",
        [{"concat": {"source": "blocks.{i:int}.a.{x:q|k|v}.{leaf:weight|bias}", "target": "blocks.{i}.a.qkv.{leaf}"}}],
    ),
    "queries, keys and values apart": (
        "blocks.{i}.a.qkv | blocks.{i}.a.q + blocks.{i}.a.k + blocks.{i}.a.v | 24x24 wb",
        [{"split": {"source": "blocks.{i:int}.a.qkv.{leaf:weight|bias}", "target": "blocks.{i}.a.{x:q|k|v}.{leaf}"}}],
    ),
    "keys and values together": (
        "blocks.{i}.a.k + blocks.{i}.a.v | blocks.{i}.a.kv | 24x24 wb",
        [{"concat": {"source": "blocks.{i:int}.a.{x:k|v}.{leaf:weight|bias}", "target": "blocks.{i}.a.kv.{leaf}"}}],
    ),
    "gate and up together": (
        "blocks.{i}.gate_proj + blocks.{i}.up_proj | blocks.{i}.gate_up_proj | 64x24 w",
        [{"concat": {"source": "blocks.{i:int}.{x:gate|up}_proj.weight", "target": "blocks.{i}.gate_up_proj.weight"}}],
    ),
    "more channels": (
        "conv0 | conv0 | 8x3x5x5 > 8x10x5x5 wb",
        [{"adapt_in_channels": {"match": "conv0.weight", "mode": "mean", "in_channels": "target"}}],
    ),
    "gray": (
        "conv0 | conv0 | 8x3x5x5 > 8x1x5x5 wb",
        [{"adapt_in_channels": {"match": "conv0.weight", "mode": "sum", "in_channels": "target"}}],
    ),
    "a dim of time": (
        "conv0 | conv0 | 8x3x5x5 > 8x3x4x5x5 wb",
        [{"inflate": {"match": "conv0.weight", "mode": "mean", "time": "target"}}],
    ),
    "kernels last": (
        "conv0.kernel | conv0.weight | 5x5x3x8 > 8x3x5x5 .",
        [{"rename": {"conv0.kernel": "conv0.weight"}}, {"permute": {"match": "conv0.weight", "dims": [3, 2, 0, 1]}}],
    ),
}


def _pair(row: str) -> Pair:
    return side_by_side(f"{_BODY}    {row}", *_TWO)


def _rules(found: surgeon.Suggestion) -> Rules:
    text = found.text.replace("{leaf:bias|weight}", "{leaf:weight|bias}")  # as the keys stand in the file
    return [{op: body for op, body in entry.items() if op != "why"} for entry in yaml.safe_load(text)["rules"] or []]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", OPS)
def test_a_change_of_shape_is_one_rule(name: str, order: str) -> None:
    row, wanted = OPS[name]
    pair = _pair(row).ordered(order)
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    assert _rules(found) == wanted
    assert found.is_settled
    assert surgeon.diff(header(pair.source), header(pair.target), found.rules).same


NEW = {
    "other classes": "head | head | 1000x24 > 10x24 wb",
    "other words": "tok_embed | tok_embed | 1000x24 > 1010x24 w",
    "another width": "neck | neck | 40x40 > 56x56 wb",
    "another kernel": "conv0 | conv0 | 8x3x5x5 > 8x3x7x7 wb",
}


@pytest.mark.parametrize("name", NEW)
def test_what_no_op_makes_fit_is_dropped_and_said_to_be_new(name: str) -> None:
    pair = _pair(NEW[name])
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    body = _pair("")
    assert set(found.missing) == pair.target.keys() - body.target.keys()
    assert set(found.unused) == pair.source.keys() - body.source.keys()
    assert [list(rule) for rule in _rules(found)] == [["drop"]]
    with pytest.raises(surgeon.SurgeryError):
        surgeon.plan(header(pair.source), None, header(pair.target))


def test_dims_in_no_known_order_are_asked() -> None:
    pair = _pair("conv0.w | conv0.w | 2x3x4x5 > 5x3x2x4 .")
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    assert found.open_targets == ("conv0.w",)
    assert all(not answer.links for question in found.questions for answer in question.answers)


@pytest.mark.parametrize("order", ORDERS)
def test_a_grid_of_positions_of_another_size_is_resampled(order: str) -> None:
    pair = _pair("pos_embed | pos_embed | 1x50x24 > 1x197x24 .").ordered(order)
    found = surgeon.suggestion(header(pair.source), header(pair.target), min_confidence=0.5)
    assert _rules(found) == [{"resample_pos_embed": {"match": "pos_embed", "source_grid": "square", "target_grid": "target"}}]


class TestAHeaderUnderItsOwnNames:
    """All that one side holds stands in the other, name and shape: then it is that, whatever else would fit."""

    def test_is_found_before_a_copy_of_it(self) -> None:
        body = _pair("").source
        copy = {f"encoder_m.{key}": shape for key, shape in body.items()}
        mapping = match(header(body), header(copy | body))
        assert {link.targets: link.sources for family in mapping.families for link in family.links} == {(key,): (key,) for key in body}
        assert set(mapping.missing) == copy.keys()

    def test_is_found_in_a_source_with_more(self) -> None:
        body = _pair("").source
        copy = {f"encoder_m.{key}": shape for key, shape in body.items()}
        mapping = match(header(copy | body), header(body))
        assert all(link.sources == link.targets for family in mapping.families for link in family.links)
        assert set(mapping.unused) == copy.keys()

    def test_is_not_where_more_blocks_of_it_follow(self) -> None:
        few, many = (side_by_side(_BODY, *({"i": i} for i in range(depth))).source for depth in (2, 4))
        for source, target in ((few, many), (many, few)):
            found = surgeon.suggestion(header(source), header(target))
            blocks = [key for key in target if key.startswith("blocks")]
            assert not set(blocks) & {key for family in found.families for link in family.links for key in link.targets}

    def test_is_not_where_one_shape_is_another(self) -> None:
        body = _pair("").source
        mapping = match(header(body), header(body | {"stem.weight": (16, 6, 7, 7)}))
        changes = [link.change.op for family in mapping.families for link in family.links if link.change]
        assert changes == ["adapt_in_channels"]


@pytest.mark.parametrize(("before", "after", "prefix"), [(49, 196, 0), (51, 198, 2), (54, 201, 5)])
def test_tokens_beside_the_grid_are_told_where_they_are_not_one(before: int, after: int, prefix: int) -> None:
    pair = _pair(f"pos_embed | pos_embed | 1x{before}x24 > 1x{after}x24 .")
    found = surgeon.suggestion(header(pair.source), header(pair.target))
    grids = {"source_grid": "square", "target_grid": "target"}
    assert _rules(found) == [{"resample_pos_embed": {"match": "pos_embed", **grids, "prefix_tokens": prefix}}]
    assert surgeon.diff(header(pair.source), header(pair.target), found.rules).same


def test_a_square_stack_is_asked_with_both_ways_as_rules() -> None:
    source = {f"layers.{i}.experts.{e}.down.weight": (8, 8) for i in range(2) for e in range(3)}
    target = {f"layers.{i}.experts.down_proj": (3, 8, 8) for i in range(2)}
    found = surgeon.suggestion(header(source), header(target))
    (question,) = found.questions
    assert [[op for entry in answer.entries for op in entry] for answer in question.answers] == [["stack"], ["stack", "transpose"]]
    assert "transposed" in question.doubt
