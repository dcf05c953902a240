"""The order in which a fused tensor holds its parts: what its name says counts, and where nothing says it, it is asked."""

import pytest

import ckpt_surgeon as surgeon
from ckpt_surgeon import Header, TensorSpec

BLOCKS = 3


def header(**shapes: tuple[int, ...]) -> Header:
    found = {"embed.weight": TensorSpec.of("float32", 50, 8)}
    for name, shape in shapes.items():
        found |= {f"layers.{i}.{name.replace('__', '.')}.weight": TensorSpec.of("float32", *shape) for i in range(BLOCKS)}
    return Header(found)


def parts(source: Header, target: Header) -> list[str] | None:
    """In which order the first block's parts lie in the whole by the rules; None where it is asked."""
    found = surgeon.suggestion(source, target)
    if not found.is_settled:
        return None
    document = [rule for rule in found.rules.rules if rule.op.name in ("split", "concat")]
    (rule,) = document
    plan = surgeon.plan(source, found.rules, target)
    if rule.op.name == "concat":
        (recipe,) = [recipe for key, recipe in plan.recipes.items() if key.startswith("layers.0.")]
        return [each.key.split(".")[-2] for each in recipe.inputs]
    taken = {recipe.output: key.split(".")[-2] for key, recipe in plan.recipes.items() if key.startswith("layers.0.")}
    return [taken[place] for place in sorted(taken)]


QKV = [
    ("attn__qkv", ["q", "k", "v"]),
    ("attn__in_proj", ["q", "k", "v"]),
    ("attn__c_attn", ["q", "k", "v"]),
    ("attn__kqv", ["k", "q", "v"]),
    ("attn__c_attn_vkq", ["v", "k", "q"]),
    ("attn__KVQ_proj", ["k", "v", "q"]),
]


@pytest.mark.parametrize(("whole", "order"), QKV)
def test_queries_keys_and_values_lie_as_the_name_says(whole, order):
    fused, apart = header(**{whole: (24, 8)}), header(attn__q=(8, 8), attn__k=(8, 8), attn__v=(8, 8))
    assert parts(fused, apart) == order
    assert parts(apart, fused) == order


GATED = [("mlp__gate_up_proj", ["gate_proj", "up_proj"]), ("mlp__up_gate_proj", ["up_proj", "gate_proj"]), ("mlp__fc1", None)]


@pytest.mark.parametrize(("whole", "order"), GATED)
def test_of_a_gated_layer_the_order_is_said_or_asked(whole, order):
    fused, apart = header(**{whole: (64, 8)}), header(mlp__gate_proj=(32, 8), mlp__up_proj=(32, 8))
    assert parts(fused, apart) == order
    assert parts(apart, fused) == order


@pytest.mark.parametrize("count", [2, 4, 5, 6, 12, 40])
@pytest.mark.parametrize(("ours", "theirs"), [("encoder", "trunk"), ("net", "b"), ("x", "y"), ("features", "body")])
def test_a_list_of_equal_layers_under_another_name_is_that_list(count, ours, theirs):
    shapes = {"weight": (8, 8), "bias": (8,)}
    source, target = (
        Header({f"{name}.{i}.{leaf}": TensorSpec.of("float32", *shape) for i in range(count) for leaf, shape in shapes.items()})
        for name in (ours, theirs)
    )
    found = surgeon.suggestion(source, target)
    assert found.is_settled
    assert surgeon.diff(source, target, found.rules).same
    assert found.plan is not None
    assert {key: recipe.key for key, recipe in found.plan.recipes.items()} == {key: key.replace(theirs, ours, 1) for key in target.entries}


@pytest.mark.parametrize(
    ("ours", "count"),
    [(("norm_attn", "norm_cross", "norm_ffn"), 3), (("norm_self", "norm_cross", "norm_ffn"), 3), (("ln_self", "ln_cross", "ln_mlp"), 3)],
)
def test_the_norms_of_a_decoder_are_asked_about_where_only_the_custom_of_two_speaks(ours, count):
    source = header(**dict.fromkeys(ours, (8,)))
    target = header(**{f"norm{i + 1}": (8,) for i in range(count)})
    found = surgeon.suggestion(source, target)
    assert not found.is_settled
    taken = {} if found.plan is None else {key: recipe.key for key, recipe in found.plan.recipes.items()}
    assert {f"layers.0.norm{i + 1}.weight": f"layers.0.{name}.weight" for i, name in enumerate(ours)}.items() >= {
        (key, name) for key, name in taken.items() if key.startswith("layers.0.")
    }


def test_the_two_norms_of_an_encoder_are_told_by_custom():
    source, target = header(norm_attn=(8,), norm_ffn=(8,)), header(norm1=(8,), norm2=(8,))
    found = surgeon.suggestion(source, target)
    assert found.is_settled
    assert found.plan is not None
    assert found.plan.recipes["layers.1.norm2.weight"].key == "layers.1.norm_ffn.weight"
