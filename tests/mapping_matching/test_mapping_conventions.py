"""How the field's libraries lay out what is the same: biases beside layers, weight norm, letters, slots of an optimizer, fused parts."""

import pytest
from headers import answers, doubts, header, layers, questions, vit

from ckpt_surgeon.mapping.links import Change
from ckpt_surgeon.mapping.matching import match

Shapes = dict[str, tuple[int, ...]]


def _blocks(shapes: dict[str, tuple[int, ...]], prefix: str, depth: int = 3) -> Shapes:
    return {f"{prefix}.{index}.{name}": shape for index in range(depth) for name, shape in shapes.items()}


def test_biases_beside_a_fused_weight_go_to_its_parts() -> None:
    fused = {
        "attn.qkv.weight": (192, 64),
        "attn.q_bias": (64,),
        "attn.v_bias": (64,),
        "attn.proj.weight": (64, 64),
        "mlp.fc1.weight": (256, 64),
    }
    apart = {"attn.query.weight": (64, 64), "attn.query.bias": (64,), "attn.key.weight": (64, 64), "attn.value.weight": (64, 64)}
    apart |= {"attn.value.bias": (64,), "attn.proj.weight": (64, 64), "mlp.fc1.weight": (256, 64)}
    found = answers(match(header(_blocks(fused, "blocks")), header(_blocks(apart, "layer"))))
    assert found["layer.1.attn.query.bias"] == ("blocks.1.attn.q_bias",)
    assert found["layer.1.attn.value.bias"] == ("blocks.1.attn.v_bias",)
    assert found["layer.1.attn.key.weight"] == ("blocks.1.attn.qkv.weight",)
    back = answers(match(header(_blocks(apart, "layer")), header(_blocks(fused, "blocks"))))
    assert back["blocks.2.attn.v_bias"] == ("layer.2.attn.value.bias",)


def test_a_bias_beside_its_layer_is_the_layers_own() -> None:
    beside = {"attn.q_proj.weight": (64, 64), "attn.q_bias": (64,), "attn.k_proj.weight": (64, 64), "mlp.weight": (256, 64)}
    inside = {"attn.query.weight": (64, 64), "attn.query.bias": (64,), "attn.key.weight": (64, 64), "mlp.weight": (256, 64)}
    found = answers(match(header(_blocks(beside, "h")), header(_blocks(inside, "layers"))))
    assert found["layers.0.attn.query.bias"] == ("h.0.attn.q_bias",)


def test_weight_norm_is_the_same_in_both_of_its_spellings() -> None:
    old = {"conv.bias": (8,), "conv.weight_g": (8, 1, 1), "conv.weight_v": (8, 4, 3)}
    new = {"conv.bias": (8,), "conv.parametrizations.weight.original0": (8, 1, 1), "conv.parametrizations.weight.original1": (8, 4, 3)}
    found = answers(match(header(_blocks(old, "layers")), header(_blocks(new, "blocks"))))
    for index in range(3):
        assert found[f"blocks.{index}.conv.parametrizations.weight.original0"] == (f"layers.{index}.conv.weight_g",)
        assert found[f"blocks.{index}.conv.parametrizations.weight.original1"] == (f"layers.{index}.conv.weight_v",)


def test_letters_before_names_are_weights_and_biases() -> None:
    source = _blocks({"mlp.fc1.weight": (256, 64), "mlp.fc1.bias": (256,), "mlp.fc2.weight": (64, 256), "mlp.fc2.bias": (64,)}, "layers")
    target = _blocks({"mlp.W_in": (64, 256), "mlp.b_in": (256,), "mlp.W_out": (256, 64), "mlp.b_out": (64,)}, "blocks")
    mapping = match(header(source), header(target))
    found = {target: (link.sources, link.change) for family in mapping.families for link in family.links for target in link.targets}
    assert found["blocks.0.mlp.W_in"] == (("layers.0.mlp.fc1.weight",), Change("transpose"))
    assert found["blocks.2.mlp.b_out"] == (("layers.2.mlp.fc2.bias",), None)


def test_parts_named_first_and_second_are_the_halves_of_what_is_named_gate_and_up() -> None:
    fused = {"mlp.gate_up_proj.weight": (512, 64), "mlp.down_proj.weight": (64, 256), "norm.weight": (64,)}
    apart = {"mlp.fc_1.weight": (256, 64), "mlp.fc_2.weight": (256, 64), "mlp.proj.weight": (64, 256), "norm.weight": (64,)}
    found = answers(match(header(_blocks(apart, "h")), header(_blocks(fused, "layers"))))
    assert found["layers.1.mlp.gate_up_proj.weight"] == ("h.1.mlp.fc_1.weight", "h.1.mlp.fc_2.weight")


def test_parts_which_have_namesakes_are_not_fused_though_their_shapes_add_up() -> None:
    body = {
        f"self_attn.{name}_proj.weight": shape for name, shape in {"q": (128, 64), "k": (64, 64), "v": (64, 64), "o": (64, 128)}.items()
    }
    old = _blocks(body | {"mlp.experts.0.up.weight": (32, 64)}, "model.layers")
    new = _blocks(body | {"mlp.experts.up": (1, 32, 64)}, "model.layers")
    found = answers(match(header(old), header(new)))
    for index in range(3):
        for name in "qkv":
            key = f"model.layers.{index}.self_attn.{name}_proj.weight"
            assert found[key] == (key,)


def test_queries_keys_and_values_which_megatron_fused_are_a_question() -> None:
    fused = {
        "self_attention.linear_qkv.weight": (192, 64),
        "self_attention.linear_proj.weight": (64, 64),
        "mlp.linear_fc1.weight": (256, 64),
    }
    apart = {f"self_attn.{name}_proj.weight": (64, 64) for name in "qkvo"} | {"mlp.up_proj.weight": (256, 64)}
    mapping = match(header(_blocks(fused, "decoder.layers")), header(_blocks(apart, "model.layers")))
    assert "head by head" in doubts(mapping)
    assert "model.layers.0.self_attn.q_proj.weight" not in answers(mapping)


def test_a_norm_within_the_layer_behind_it_is_that_layers() -> None:
    inner = {"attn.linear_qkv.weight": (192, 64), "attn.linear_qkv.layer_norm_weight": (64,), "attn.linear_proj.weight": (64, 64)}
    inner |= {"mlp.linear_fc1.weight": (256, 64), "mlp.linear_fc1.layer_norm_weight": (64,), "mlp.linear_fc2.weight": (64, 256)}
    outer = {"input_layernorm.weight": (64,), "attn.qkv_proj.weight": (192, 64), "attn.o_proj.weight": (64, 64)}
    outer |= {"post_attention_layernorm.weight": (64,), "mlp.up_proj.weight": (256, 64), "mlp.down_proj.weight": (64, 256)}
    for source in (inner, dict(sorted(inner.items()))):
        found = answers(match(header(_blocks(source, "decoder.layers")), header(_blocks(outer, "model.layers"))))
        assert found["model.layers.1.input_layernorm.weight"] == ("decoder.layers.1.attn.linear_qkv.layer_norm_weight",)
        assert found["model.layers.1.post_attention_layernorm.weight"] == ("decoder.layers.1.mlp.linear_fc1.layer_norm_weight",)


def _trained(*slots: str) -> Shapes:
    body = {key.replace(".", "/"): shape for key, shape in vit().items()}
    return {name: shape for key, shape in body.items() for name in (key, *(f"{key}/{slot}" for slot in slots))}


def test_slots_of_an_optimizer_are_no_weights() -> None:
    mapping = match(header(_trained("RMSProp", "RMSProp_1")), header(vit()))
    assert answers(mapping) == {key: (key.replace(".", "/"),) for key in vit()}
    assert set(mapping.unused) == {key for key in _trained("RMSProp", "RMSProp_1") if "RMSProp" in key}


def test_averages_beside_the_weights_are_one_question_with_themselves_as_the_alternative() -> None:
    mapping = match(header(_trained("ExponentialMovingAverage")), header(vit()))
    assert answers(mapping) == {}
    assert questions(mapping).keys() == vit().keys()
    for family in mapping.families:
        assert all(link.sources[0].endswith("/ExponentialMovingAverage") for link in family.alternatives[0].links)


NAMES = ("layernorm_before", "attention.qkv", "attention.output.dense", "layernorm_after", "intermediate.dense", "output.dense")


@pytest.mark.parametrize("names", [(), NAMES])
@pytest.mark.parametrize(
    ("left", "new"), [("layer_scale", {"adapter.rows": (64,)}), ("unused", {"adapter.down": (16, 64)}), ("gate", {"adapter.w": (64, 64)})]
)
def test_an_adapter_is_not_taken_from_an_unused_layer_of_its_shape(left: str, new: Shapes, names: tuple[str, ...]) -> None:
    source, target = vit(extra={left: next(iter(new.values()))}), vit(extra=new, names=names, prefix="layers")
    found = answers(match(header(source), header(target)))
    assert [key for key in found if "adapter" in key] == []
    assert len(found) == len(vit())


def test_a_square_matrix_of_another_name_may_lie_either_way() -> None:
    mapping = match(header({"a.w": (64, 64), "a.b": (64,)}), header(layers("", {"fc1": (64, 64)})))
    assert answers(mapping) == {}
    turned = [link.change for family in mapping.families for other in family.alternatives for link in other.links]
    assert Change("transpose") in turned


def test_a_table_of_embeddings_is_no_output_layer() -> None:
    body = layers("", {"fc1": (96, 64), "fc2": (64, 96), "fc3": (48, 64)})
    source, target = body | {"decoder.logits_dense.kernel": (64, 500)}, body | {"decoder.embed_tokens.weight": (500, 64)}
    assert "decoder.embed_tokens.weight" not in answers(match(header(source), header(target)))


@pytest.mark.parametrize(("channels", "asked"), [(1, False), (10, False), (4, True), (6, True)])
def test_what_added_channels_start_from_is_asked_where_custom_does_not_tell(channels: int, asked: bool) -> None:
    source = vit()
    target = source | {"patch_embed.proj.weight": (64, channels, 16, 16)}
    mapping = match(header(source), header(target))
    assert ("patch_embed.proj.weight" in questions(mapping)) == asked
    if asked:
        modes = [
            link.change.parameters[0] for family in mapping.families for other in family.alternatives for link in other.links if link.change
        ]
        assert modes == [("mode", "repeat")]


def test_a_norm_in_a_numbered_part_is_told_by_what_stands_beside_it() -> None:
    attention, ffn = {"q.weight": (48, 64), "o.weight": (64, 48)}, {"wi.weight": (256, 64), "wo.weight": (64, 256)}
    old = {f"layer.0.SelfAttention.{name}": shape for name, shape in attention.items()} | {"layer.0.layer_norm.weight": (64,)}
    old |= {f"layer.1.DenseReluDense.{name}": shape for name, shape in ffn.items()} | {"layer.1.layer_norm.weight": (64,)}
    new = {"pre_mlp_layer_norm.weight": (64,), "pre_attention_layer_norm.weight": (64,)}
    new |= {f"attention.{name}": shape for name, shape in attention.items()} | {f"mlp.{name}": shape for name, shape in ffn.items()}
    for source in (old, dict(sorted(old.items(), reverse=True))):
        found = answers(match(header(_blocks(source, "block")), header(_blocks(dict(sorted(new.items())), "layers"))))
        for index in range(3):
            assert found[f"layers.{index}.pre_attention_layer_norm.weight"] == (f"block.{index}.layer.0.layer_norm.weight",)
            assert found[f"layers.{index}.pre_mlp_layer_norm.weight"] == (f"block.{index}.layer.1.layer_norm.weight",)
