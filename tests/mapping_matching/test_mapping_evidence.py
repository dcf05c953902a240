"""What is evidence and what is not: places in a file, wrappers, roles of tensors, separators, words; seen through whole headers."""

import pytest
from headers import answers, batch_norm, header, layers, renamed, resnet18, vit
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_surgeon.mapping.matching import match
from ckpt_surgeon.mapping.tree import Trees
from ckpt_surgeon.mapping.words import likeness, meanings, without

Shapes = dict[str, tuple[int, ...]]

WRAPPERS = [
    "module.",
    "model.",
    "module.base_model.",
    "state_dict.model.net.",
    "_orig_mod.",
    "backbone.0.",
    "encoder.module.",
    "x.y.z.0.1.",
    "module/",
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("sort", [False, True])
def test_a_wrapper_says_nothing(wrapper: str, sort: bool) -> None:
    body = vit()
    source = {f"{wrapper}{key}": shape for key, shape in body.items()}
    given_source = dict(sorted(source.items())) if sort else source
    assert answers(match(header(given_source), header(body))) == {key: (f"{wrapper}{key}",) for key in body}
    assert answers(match(header(body), header(given_source))) == {f"{wrapper}{key}": (key,) for key in body}


WRAPPED_INSIDE = {
    "some layers": {".attn.proj.": ".attn.proj.inner."},
    "every second block": {"blocks.1.": "blocks.1.wrapped.", "blocks.3.": "blocks.3.wrapped."},
    "the blocks": {"blocks.": "blocks.layers."},
    "the head": {"head.": "head.0."},
    "a checkpointed block": {"blocks.2.": "blocks.2._checkpoint_wrapped_module."},
}


@pytest.mark.parametrize("name", WRAPPED_INSIDE)
def test_wrappers_within_say_nothing_either(name: str) -> None:
    target = vit()
    source, names = renamed(target, WRAPPED_INSIDE[name])
    assert answers(match(header(source), header(target))) == {key: (new,) for key, new in names.items()}
    assert answers(match(header(target), header(source))) == {new: (key,) for key, new in names.items()}


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("roles", [("weight", "bias"), ("kernel", "bias"), ("w", "b"), ("weights", "biases")])
def test_other_words_for_weights_and_biases_are_read(separator: str, roles: tuple[str, str]) -> None:
    target = layers("net.", {"fc1": (32, 16), "fc2": (16, 32)}) | layers("", {"head": (5, 16)})
    names = {key: separator.join([*key.split(".")[:-1], roles[key.endswith("bias")]]) for key in target}
    source = {names[key]: shape for key, shape in target.items()}
    assert answers(match(header(source), header(target))) == {key: (names[key],) for key in target}


@pytest.mark.parametrize(
    "leaves",
    [
        ("weight", "bias", "running_mean", "running_var"),
        ("gamma", "beta", "moving_mean", "moving_variance"),
        ("scale", "offset", "mean", "var"),
    ],
)
def test_statistics_of_a_norm_are_told_from_its_weights(leaves: tuple[str, ...]) -> None:
    target: Shapes = {"conv.weight": (8, 3, 3, 3), **batch_norm("bn", 8), "fc.weight": (5, 8), "fc.bias": (5,)}
    ours = ("weight", "bias", "running_mean", "running_var")
    source: Shapes = {f"norm.{leaf}": (8,) for leaf in sorted(leaves)} | {key: shape for key, shape in target.items() if "bn" not in key}
    found = answers(match(header(source), header(target)))
    assert {key: found[f"bn.{key}"] for key in ours} == {key: (f"norm.{leaf}",) for key, leaf in zip(ours, leaves, strict=True)}


def test_two_norms_of_a_block_are_never_taken_where_neither_name_nor_file_tells() -> None:
    target = vit(names=("ln_a", "qkv", "proj", "ln_b", "up", "down"))
    source = vit(names=("x", "qkv", "proj", "y", "up", "down"))
    found = answers(match(header(dict(sorted(source.items()))), header(target)))
    assert found == {key: (key,) for key in target if ".ln_" not in key}


def test_a_wrong_order_in_the_file_is_not_believed() -> None:
    """The target lists a block's layers in another order than the source; names tell what is what all the same."""
    target = vit()
    source = dict(reversed(list(target.items())))
    given_names, names = renamed(source, {"norm1": "ln_1", "norm2": "ln_2", "fc1": "c_fc", "blocks": "h"})
    assert answers(match(header(given_names), header(target))) == {key: (new,) for key, new in names.items()}


def test_blocks_keep_their_numbers_whatever_the_order_of_the_file() -> None:
    target = vit(12)
    source, names = renamed(target, {"blocks": "layer"})
    by_name = dict(sorted(source.items()))  # layer.0, layer.1, layer.10, layer.11, layer.2
    assert answers(match(header(by_name), header(target))) == {key: (new,) for key, new in names.items()}


@pytest.mark.parametrize("first", [1, 5])
def test_blocks_may_count_from_elsewhere(first: int) -> None:
    target = vit(4)
    names = {key: key for key in target}
    for i in range(4):
        names |= {key: key.replace(f"blocks.{i}.", f"blocks.{i + first}.") for key in target if key.startswith(f"blocks.{i}.")}
    source = {names[key]: shape for key, shape in target.items()}
    found = answers(match(header(source), header(target)))
    assert {key: sources for key, sources in found.items() if sources != (names[key],)} == {}
    assert len(found) == len(target)


def test_counters_of_batches_go_with_their_norm() -> None:
    source, names = renamed(resnet18(), {"bn": "norm", "layer": "stage"})
    found = answers(match(header(resnet18()), header(source)))
    counters = [key for key in source if key.endswith("tracked")]
    assert len(counters) == 20
    assert all(source_key.endswith("tracked") for key in counters for source_key in found[key])
    assert found == {new: (key,) for key, new in names.items()}


@pytest.mark.parametrize(
    "shapes", [{}, {"a": ()}, {"": (3,)}, {"a..b": (2, 2)}, {".": (2, 2)}, {"0": (4,), "1": (5,)}, {"weight": (3, 3), "bias": (3,)}]
)
def test_headers_with_little_or_odd_in_them_are_themselves(shapes: Shapes) -> None:
    mapping = match(header(shapes), header(shapes))
    assert answers(mapping) == {key: (key,) for key in shapes}
    assert (mapping.missing, mapping.unused) == ((), ())


@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_side_has_nothing_to_give_or_take(side: int) -> None:
    sides: tuple[Shapes, Shapes] = (vit(), {}) if side else ({}, vit())
    mapping = match(*map(header, sides))
    assert mapping.families == ()
    assert (list(mapping.unused), list(mapping.missing)) == (list(sides[0]), list(sides[1]))


_texts = st.lists(st.sampled_from(["norm", "conv", "0", "1", "attn", "proj", "up", "encoder", "foo"]), max_size=5).map(tuple)


class TestWords:
    @settings(max_examples=60)
    @given(_texts, _texts)
    def test_likeness_is_the_same_both_ways_and_whole_for_the_same(self, one: tuple[str, ...], other: tuple[str, ...]) -> None:
        assert likeness(one, other) == pytest.approx(likeness(other, one))
        assert 0 <= likeness(one, other) <= 1
        assert likeness(one, one) == (1 if one else 0)

    @settings(max_examples=60)
    @given(_texts)
    def test_meanings_are_taken_once(self, words: tuple[str, ...]) -> None:
        assert meanings(words) == meanings(tuple(words))
        assert without(words, words) == ()
        assert without(words, ()) == words

    @pytest.mark.parametrize(
        ("segments", "words"),
        [
            (("h", "0", "ln_1"), ("block", "0", "norm", "first", "1")),
            (("LayerNorm",), ("norm",)),
            (("selfAttn", "qProj"), ("self", "attn", "q", "proj")),
            (("BatchNorm_0",), ("norm", "0")),
            ((), ()),
            (("___",), ()),
        ],
    )
    def test_names_are_cut_at_cases_numbers_and_signs(self, segments: tuple[str, ...], words: tuple[str, ...]) -> None:
        assert set(words) <= set(meanings(segments)) | {"batch"}


class TestParts:
    def test_within_wrappers_are_the_same_part(self) -> None:
        tree = Trees().tree(header({"a.b.c.fc.weight": (4, 4), "a.b.c.norm.weight": (4,)}))
        assert tree.unwrapped.path == ("a", "b", "c")
        assert {module.unwrapped for module in tree.modules} == set(tree.modules)

    def test_which_repeat_share_pattern_and_template(self) -> None:
        tree = Trees().tree(header(vit(3)))
        (blocks,) = [child for child in tree.children if child.path == ("blocks",)]
        assert {block.pattern for block in blocks.children} == {"blocks.#"}
        assert [block.numbers for block in blocks] == [(0,), (1,), (2,)]
        assert len({block.template for block in blocks}) == len({block.signature for block in blocks}) == 1
