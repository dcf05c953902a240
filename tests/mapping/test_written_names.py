"""What the fewest rules on names are, case by case: what moves, and what a person would write for it."""

from typing import Any

import pytest
from mappings import headers, moves

from ckpt_surgeon.mapping.writing import written
from ckpt_surgeon.mapping.writing.entries import entry_of
from ckpt_surgeon.mapping.writing.naming import Naming, name_ops, named, size_of
from ckpt_surgeon.ops.aligning import AlignNames
from ckpt_surgeon.ops.prefixes import AddPrefix, StripPrefix
from ckpt_surgeon.ops.protocol import NameOp
from ckpt_surgeon.ops.renaming import Rename
from ckpt_surgeon.ops.replacing import Replace

Entries = list[dict[str, Any]]

CASES: dict[str, tuple[dict[str, str], Entries]] = {
    "a_prefix_goes": (
        {
            "module.layer1.weight": "layer1.weight",
            "module.layer1.bias": "layer1.bias",
            "module.layer2.weight": "layer2.weight",
            "module.layer2.bias": "layer2.bias",
            "module.layer3.weight": "layer3.weight",
            "module.layer3.bias": "layer3.bias",
        },
        [{"strip_prefix": "module."}],
    ),
    "a_prefix_comes": (
        {
            "layer1.weight": "backbone.layer1.weight",
            "layer1.bias": "backbone.layer1.bias",
            "layer2.weight": "backbone.layer2.weight",
            "layer2.bias": "backbone.layer2.bias",
            "layer3.weight": "backbone.layer3.weight",
            "layer3.bias": "backbone.layer3.bias",
        },
        [{"add_prefix": "backbone."}],
    ),
    "a_prefix_goes_and_another_comes": (
        {
            "module.layer1.weight": "backbone.body.layer1.weight",
            "module.layer1.bias": "backbone.body.layer1.bias",
            "module.layer2.weight": "backbone.body.layer2.weight",
            "module.layer2.bias": "backbone.body.layer2.bias",
            "module.layer3.weight": "backbone.body.layer3.weight",
            "module.layer3.bias": "backbone.body.layer3.bias",
        },
        [{"rename": {"module.{rest:path}": "backbone.body.{rest}"}}],
    ),
    "only_some_keys_lose_a_prefix": (
        {
            "model.h.0.w": "h.0.w",
            "model.h.1.w": "h.1.w",
            "model.h.2.w": "h.2.w",
            "head.weight": "head.weight",
            "model.norm.weight": "norm.weight",
        },
        [{"strip_prefix": "model."}],
    ),
    "a_wrapper_goes_from_some_blocks": (
        {
            "b.0.conv1.net.weight": "b.0.conv1.weight",
            "b.2.conv1.net.weight": "b.2.conv1.weight",
            "b.4.conv1.net.weight": "b.4.conv1.weight",
            "b.1.conv1.weight": "b.1.conv1.weight",
            "b.3.conv1.weight": "b.3.conv1.weight",
            "b.5.conv1.weight": "b.5.conv1.weight",
        },
        [{"align_names": {"segments": "net"}}],
    ),
    "a_wrapper_comes_into_some_blocks": (
        {
            "b.0.conv1.weight": "b.0.conv1.net.weight",
            "b.2.conv1.weight": "b.2.conv1.net.weight",
            "b.4.conv1.weight": "b.4.conv1.net.weight",
            "b.1.conv1.weight": "b.1.conv1.weight",
            "b.3.conv1.weight": "b.3.conv1.weight",
            "b.5.conv1.weight": "b.5.conv1.weight",
        },
        [{"align_names": {"segments": "net"}}],
    ),
    "numbers_move": (
        {"layer1.w": "stages.0.w", "layer2.w": "stages.1.w", "layer3.w": "stages.2.w", "layer4.w": "stages.3.w"},
        [{"rename": {"layer{i:int}.w": "stages.{i-1}.w"}}],
    ),
    "numbers_turn_round": (
        {"up.0.w": "up_blocks.3.w", "up.1.w": "up_blocks.2.w", "up.2.w": "up_blocks.1.w", "up.3.w": "up_blocks.0.w"},
        [{"rename": {"up.{i:int}.w": "up_blocks.{3-i}.w"}}],
    ),
    "pairs_are_counted_through": (
        {
            "a.0.0.w": "b.0.w",
            "a.0.1.w": "b.1.w",
            "a.0.2.w": "b.2.w",
            "a.1.0.w": "b.3.w",
            "a.1.1.w": "b.4.w",
            "a.1.2.w": "b.5.w",
            "a.2.0.w": "b.6.w",
            "a.2.1.w": "b.7.w",
            "a.2.2.w": "b.8.w",
            "a.3.0.w": "b.9.w",
            "a.3.1.w": "b.10.w",
            "a.3.2.w": "b.11.w",
        },
        [{"rename": {"a.{i:int}.{j:int}.w": "b.{i*3+j}.w"}}],
    ),
    "numbers_are_divided": (
        {
            "features.0.w": "stages.0.0.w",
            "features.1.w": "stages.0.1.w",
            "features.2.w": "stages.1.0.w",
            "features.3.w": "stages.1.1.w",
            "features.4.w": "stages.2.0.w",
            "features.5.w": "stages.2.1.w",
            "features.6.w": "stages.3.0.w",
            "features.7.w": "stages.3.1.w",
        },
        [{"rename": {"features.{i:int}.w": "stages.{i//2}.{i%2}.w"}}],
    ),
    "every_second_number": (
        {"a.0.w": "b.1.w", "a.1.w": "b.3.w", "a.2.w": "b.5.w", "a.3.w": "b.7.w", "a.4.w": "b.9.w"},
        [{"rename": {"a.{i:int}.w": "b.{i*2+1}.w"}}],
    ),
    "two_numbers_change_places": (
        {
            "a.0.0.w": "a.0.0.w",
            "a.0.1.w": "a.1.0.w",
            "a.0.2.w": "a.2.0.w",
            "a.0.3.w": "a.3.0.w",
            "a.1.0.w": "a.0.1.w",
            "a.1.1.w": "a.1.1.w",
            "a.1.2.w": "a.2.1.w",
            "a.1.3.w": "a.3.1.w",
        },
        [{"rename": {"a.{i:int}.{j:int}.w": "a.{j}.{i}.w"}}],
    ),
    "stages_of_unequal_depth_are_counted_through": (
        {
            "layer1.0.w": "blocks.0.w",
            "layer1.1.w": "blocks.1.w",
            "layer1.2.w": "blocks.2.w",
            "layer2.0.w": "blocks.3.w",
            "layer2.1.w": "blocks.4.w",
            "layer2.2.w": "blocks.5.w",
            "layer2.3.w": "blocks.6.w",
            "layer3.0.w": "blocks.7.w",
            "layer3.1.w": "blocks.8.w",
            "layer3.2.w": "blocks.9.w",
            "layer3.3.w": "blocks.10.w",
            "layer3.4.w": "blocks.11.w",
            "layer3.5.w": "blocks.12.w",
        },
        [{"rename": {"layer1.{i:int}.w": "blocks.{i}.w", "layer2.{i:int}.w": "blocks.{i+3}.w", "layer3.{i:int}.w": "blocks.{i+7}.w"}}],
    ),
    "numbers_without_a_rule_are_written_out": (
        {"f.0.w": "f.0.w", "f.3.w": "f.1.w", "f.7.w": "f.2.w", "f.10.w": "f.3.w"},
        [{"rename": {"f.3.w": "f.1.w", "f.7.w": "f.2.w", "f.10.w": "f.3.w"}}],
    ),
    "the_first_is_an_exception": (
        {
            "down.0.w": "stem.w",
            "down.1.w": "stages.1.down.w",
            "down.2.w": "stages.2.down.w",
            "down.3.w": "stages.3.down.w",
            "down.4.w": "stages.4.down.w",
        },
        [{"replace": {"down.{i:int}": "stages.{i}.down", "down.0": "stem"}}],
    ),
    "a_part_inside_blocks": (
        {
            "h.0.ln_1.weight": "h.0.norm1.weight",
            "h.0.ln_1.bias": "h.0.norm1.bias",
            "h.1.ln_1.weight": "h.1.norm1.weight",
            "h.1.ln_1.bias": "h.1.norm1.bias",
            "h.2.ln_1.weight": "h.2.norm1.weight",
            "h.2.ln_1.bias": "h.2.norm1.bias",
            "h.3.ln_1.weight": "h.3.norm1.weight",
            "h.3.ln_1.bias": "h.3.norm1.bias",
            "h.0.ln_2.weight": "h.0.norm2.weight",
            "h.0.ln_2.bias": "h.0.norm2.bias",
            "h.1.ln_2.weight": "h.1.norm2.weight",
            "h.1.ln_2.bias": "h.1.norm2.bias",
            "h.2.ln_2.weight": "h.2.norm2.weight",
            "h.2.ln_2.bias": "h.2.norm2.bias",
            "h.3.ln_2.weight": "h.3.norm2.weight",
            "h.3.ln_2.bias": "h.3.norm2.bias",
            "h.0.mlp.weight": "h.0.mlp.weight",
            "h.0.mlp.bias": "h.0.mlp.bias",
            "h.1.mlp.weight": "h.1.mlp.weight",
            "h.1.mlp.bias": "h.1.mlp.bias",
            "h.2.mlp.weight": "h.2.mlp.weight",
            "h.2.mlp.bias": "h.2.mlp.bias",
            "h.3.mlp.weight": "h.3.mlp.weight",
            "h.3.mlp.bias": "h.3.mlp.bias",
        },
        [{"rename": {"h.{i:int}.ln_{j:int}.{leaf}": "h.{i}.norm{j}.{leaf}"}}],
    ),
    "parts_of_other_names": (
        {
            "h.0.mlp.c_fc.weight": "h.0.mlp.fc1.weight",
            "h.0.mlp.c_fc.bias": "h.0.mlp.fc1.bias",
            "h.1.mlp.c_fc.weight": "h.1.mlp.fc1.weight",
            "h.1.mlp.c_fc.bias": "h.1.mlp.fc1.bias",
            "h.2.mlp.c_fc.weight": "h.2.mlp.fc1.weight",
            "h.2.mlp.c_fc.bias": "h.2.mlp.fc1.bias",
            "h.3.mlp.c_fc.weight": "h.3.mlp.fc1.weight",
            "h.3.mlp.c_fc.bias": "h.3.mlp.fc1.bias",
            "h.0.mlp.c_proj.weight": "h.0.mlp.fc2.weight",
            "h.0.mlp.c_proj.bias": "h.0.mlp.fc2.bias",
            "h.1.mlp.c_proj.weight": "h.1.mlp.fc2.weight",
            "h.1.mlp.c_proj.bias": "h.1.mlp.fc2.bias",
            "h.2.mlp.c_proj.weight": "h.2.mlp.fc2.weight",
            "h.2.mlp.c_proj.bias": "h.2.mlp.fc2.bias",
            "h.3.mlp.c_proj.weight": "h.3.mlp.fc2.weight",
            "h.3.mlp.c_proj.bias": "h.3.mlp.fc2.bias",
            "h.0.attn.c_proj.weight": "h.0.attn.c_proj.weight",
            "h.0.attn.c_proj.bias": "h.0.attn.c_proj.bias",
            "h.1.attn.c_proj.weight": "h.1.attn.c_proj.weight",
            "h.1.attn.c_proj.bias": "h.1.attn.c_proj.bias",
            "h.2.attn.c_proj.weight": "h.2.attn.c_proj.weight",
            "h.2.attn.c_proj.bias": "h.2.attn.c_proj.bias",
            "h.3.attn.c_proj.weight": "h.3.attn.c_proj.weight",
            "h.3.attn.c_proj.bias": "h.3.attn.c_proj.bias",
        },
        [{"rename": {"h.{i:int}.mlp.c_fc.{leaf}": "h.{i}.mlp.fc1.{leaf}", "h.{i:int}.mlp.c_proj.{leaf}": "h.{i}.mlp.fc2.{leaf}"}}],
    ),
    "blocks_and_their_parts": (
        {
            "h.0.ln_1.weight": "layers.0.norm1.weight",
            "h.0.ln_1.bias": "layers.0.norm1.bias",
            "h.1.ln_1.weight": "layers.1.norm1.weight",
            "h.1.ln_1.bias": "layers.1.norm1.bias",
            "h.2.ln_1.weight": "layers.2.norm1.weight",
            "h.2.ln_1.bias": "layers.2.norm1.bias",
            "h.3.ln_1.weight": "layers.3.norm1.weight",
            "h.3.ln_1.bias": "layers.3.norm1.bias",
            "h.0.attn.weight": "layers.0.attn.weight",
            "h.0.attn.bias": "layers.0.attn.bias",
            "h.1.attn.weight": "layers.1.attn.weight",
            "h.1.attn.bias": "layers.1.attn.bias",
            "h.2.attn.weight": "layers.2.attn.weight",
            "h.2.attn.bias": "layers.2.attn.bias",
            "h.3.attn.weight": "layers.3.attn.weight",
            "h.3.attn.bias": "layers.3.attn.bias",
            "h.0.mlp.weight": "layers.0.ffn.weight",
            "h.0.mlp.bias": "layers.0.ffn.bias",
            "h.1.mlp.weight": "layers.1.ffn.weight",
            "h.1.mlp.bias": "layers.1.ffn.bias",
            "h.2.mlp.weight": "layers.2.ffn.weight",
            "h.2.mlp.bias": "layers.2.ffn.bias",
            "h.3.mlp.weight": "layers.3.ffn.weight",
            "h.3.mlp.bias": "layers.3.ffn.bias",
        },
        [{"replace": {"h": "layers", "ln_1": "norm1", "mlp": "ffn"}}],
    ),
    "two_towers": (
        {
            "visual.blocks.0.ln.weight": "vision.layers.0.norm.weight",
            "visual.blocks.0.ln.bias": "vision.layers.0.norm.bias",
            "visual.blocks.1.ln.weight": "vision.layers.1.norm.weight",
            "visual.blocks.1.ln.bias": "vision.layers.1.norm.bias",
            "visual.blocks.2.ln.weight": "vision.layers.2.norm.weight",
            "visual.blocks.2.ln.bias": "vision.layers.2.norm.bias",
            "blocks.0.ln.weight": "text.layers.0.norm.weight",
            "blocks.0.ln.bias": "text.layers.0.norm.bias",
            "blocks.1.ln.weight": "text.layers.1.norm.weight",
            "blocks.1.ln.bias": "text.layers.1.norm.bias",
            "blocks.2.ln.weight": "text.layers.2.norm.weight",
            "blocks.2.ln.bias": "text.layers.2.norm.bias",
        },
        [
            {
                "rename": {
                    "visual.blocks.{i:int}.ln.{leaf}": "vision.layers.{i}.norm.{leaf}",
                    "blocks.{i:int}.ln.{leaf}": "text.layers.{i}.norm.{leaf}",
                }
            }
        ],
    ),
    "leaves_of_other_names": (
        {
            "b.0.grn.gamma": "b.0.grn.weight",
            "b.1.grn.gamma": "b.1.grn.weight",
            "b.2.grn.gamma": "b.2.grn.weight",
            "b.0.grn.beta": "b.0.grn.bias",
            "b.1.grn.beta": "b.1.grn.bias",
            "b.2.grn.beta": "b.2.grn.bias",
            "b.0.gamma": "b.0.scale",
            "b.1.gamma": "b.1.scale",
            "b.2.gamma": "b.2.scale",
        },
        [{"rename": {"b.{i:int}.grn.gamma": "b.{i}.grn.weight", "b.{i:int}.grn.beta": "b.{i}.grn.bias", "b.{i:int}.gamma": "b.{i}.scale"}}],
    ),
    "a_norm_moves_into_its_convolution": (
        {
            "l.0.conv1.weight": "l.0.conv1.weight",
            "l.0.conv2.weight": "l.0.conv2.weight",
            "l.0.conv3.weight": "l.0.conv3.weight",
            "l.1.conv1.weight": "l.1.conv1.weight",
            "l.1.conv2.weight": "l.1.conv2.weight",
            "l.1.conv3.weight": "l.1.conv3.weight",
            "l.0.bn1.weight": "l.0.conv1.norm.weight",
            "l.0.bn1.bias": "l.0.conv1.norm.bias",
            "l.0.bn2.weight": "l.0.conv2.norm.weight",
            "l.0.bn2.bias": "l.0.conv2.norm.bias",
            "l.0.bn3.weight": "l.0.conv3.norm.weight",
            "l.0.bn3.bias": "l.0.conv3.norm.bias",
            "l.1.bn1.weight": "l.1.conv1.norm.weight",
            "l.1.bn1.bias": "l.1.conv1.norm.bias",
            "l.1.bn2.weight": "l.1.conv2.norm.weight",
            "l.1.bn2.bias": "l.1.conv2.norm.bias",
            "l.1.bn3.weight": "l.1.conv3.norm.weight",
            "l.1.bn3.bias": "l.1.conv3.norm.bias",
        },
        [{"rename": {"l.{i:int}.bn{j:int}.{leaf}": "l.{i}.conv{j}.norm.{leaf}"}}],
    ),
    "two_keys_change_places": (
        {"a.weight": "b.weight", "b.weight": "a.weight"},
        [{"rename": {"a.weight": "b.weight", "b.weight": "a.weight"}}],
    ),
    "three_keys_go_round": (
        {"a.w": "b.w", "b.w": "c.w", "c.w": "a.w"},
        [{"rename": {"a.w": "b.w", "b.w": "c.w", "c.w": "a.w"}}],
    ),
    "a_name_goes_on_a_level": (
        {"norm.weight": "head.norm.weight", "norm.bias": "head.norm.bias", "head.weight": "head.fc.weight", "head.bias": "head.fc.bias"},
        [{"rename": {"norm.{leaf}": "head.norm.{leaf}", "head.{leaf}": "head.fc.{leaf}"}}],
    ),
    "a_lone_key": (
        {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"},
        [{"rename": {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}}],
    ),
    "a_key_becomes_a_module": (
        {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"},
        [{"rename": {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}}],
    ),
    "everything_new": (
        {"a.b": "x.y", "c.d": "z", "e": "q.r.s"},
        [{"rename": {"a.b": "x.y", "c.d": "z", "e": "q.r.s"}}],
    ),
    "experts_in_blocks": (
        {
            "l.0.moe.e.0.w1": "layers.0.mlp.experts.0.gate",
            "l.0.moe.e.1.w1": "layers.0.mlp.experts.1.gate",
            "l.0.moe.e.2.w1": "layers.0.mlp.experts.2.gate",
            "l.0.moe.e.3.w1": "layers.0.mlp.experts.3.gate",
            "l.1.moe.e.0.w1": "layers.1.mlp.experts.0.gate",
            "l.1.moe.e.1.w1": "layers.1.mlp.experts.1.gate",
            "l.1.moe.e.2.w1": "layers.1.mlp.experts.2.gate",
            "l.1.moe.e.3.w1": "layers.1.mlp.experts.3.gate",
            "l.2.moe.e.0.w1": "layers.2.mlp.experts.0.gate",
            "l.2.moe.e.1.w1": "layers.2.mlp.experts.1.gate",
            "l.2.moe.e.2.w1": "layers.2.mlp.experts.2.gate",
            "l.2.moe.e.3.w1": "layers.2.mlp.experts.3.gate",
        },
        [{"rename": {"l.{i:int}.moe.e.{j:int}.w1": "layers.{i}.mlp.experts.{j}.gate"}}],
    ),
    "a_number_inside_a_word": (
        {
            "encoder_layer_0.self_attention.weight": "layers.0.attn.weight",
            "encoder_layer_0.self_attention.bias": "layers.0.attn.bias",
            "encoder_layer_1.self_attention.weight": "layers.1.attn.weight",
            "encoder_layer_1.self_attention.bias": "layers.1.attn.bias",
            "encoder_layer_2.self_attention.weight": "layers.2.attn.weight",
            "encoder_layer_2.self_attention.bias": "layers.2.attn.bias",
            "encoder_layer_3.self_attention.weight": "layers.3.attn.weight",
            "encoder_layer_3.self_attention.bias": "layers.3.attn.bias",
            "encoder_layer_4.self_attention.weight": "layers.4.attn.weight",
            "encoder_layer_4.self_attention.bias": "layers.4.attn.bias",
            "encoder_layer_5.self_attention.weight": "layers.5.attn.weight",
            "encoder_layer_5.self_attention.bias": "layers.5.attn.bias",
            "encoder_layer_6.self_attention.weight": "layers.6.attn.weight",
            "encoder_layer_6.self_attention.bias": "layers.6.attn.bias",
            "encoder_layer_7.self_attention.weight": "layers.7.attn.weight",
            "encoder_layer_7.self_attention.bias": "layers.7.attn.bias",
            "encoder_layer_8.self_attention.weight": "layers.8.attn.weight",
            "encoder_layer_8.self_attention.bias": "layers.8.attn.bias",
            "encoder_layer_9.self_attention.weight": "layers.9.attn.weight",
            "encoder_layer_9.self_attention.bias": "layers.9.attn.bias",
            "encoder_layer_10.self_attention.weight": "layers.10.attn.weight",
            "encoder_layer_10.self_attention.bias": "layers.10.attn.bias",
            "encoder_layer_11.self_attention.weight": "layers.11.attn.weight",
            "encoder_layer_11.self_attention.bias": "layers.11.attn.bias",
        },
        [{"rename": {"encoder_layer_{i:int}.self_attention.{leaf}": "layers.{i}.attn.{leaf}"}}],
    ),
    "leading_zeros_are_no_numbers": (
        {"block.00.w": "b.0.w", "block.01.w": "b.1.w", "block.02.w": "b.2.w"},
        [{"rename": {"block.00.w": "b.0.w", "block.01.w": "b.1.w", "block.02.w": "b.2.w"}}],
    ),
    "a_segment_is_never_cut": (
        {"conv1.weight": "stem.weight", "conv10.weight": "conv10.weight", "myconv1.weight": "myconv1.weight"},
        [{"rename": {"conv1.weight": "stem.weight"}}],
    ),
    "a_name_inside_another": (
        {"norm.weight": "ln.weight", "layers.0.norm.weight": "layers.0.norm.weight", "layers.1.norm.weight": "layers.1.norm.weight"},
        [{"rename": {"norm.weight": "ln.weight"}}],
    ),
    "nothing": (
        {"a.w": "a.w", "b.w": "b.w"},
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rules_on_names_are_those_which_a_person_would_write(case: str) -> None:
    table, wanted = CASES[case]
    naming = Naming(table, (), frozenset(table.values()))
    ops = name_ops(naming)
    assert [entry_of(op) for op in ops] == wanted
    assert named(ops, naming) == table


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_the_keys_says_nothing(case: str) -> None:
    table, wanted = CASES[case]
    by_name = dict(sorted(table.items()))
    ops = name_ops(Naming(by_name, (), frozenset(table.values())))
    assert sum(map(size_of, ops)) == sum(map(size_of, name_ops(Naming(table, (), frozenset(table.values())))))
    assert [op.name for op in ops] == [name for entry in wanted for name in entry]


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_proven_by_its_plan(case: str) -> None:
    table, _ = CASES[case]
    source, target = headers(table)
    found = written(moves(table), source, target, 0.9)
    assert found.plan is not None
    assert {key: [recipe.key] for key, recipe in found.plan.recipes.items()} == {place: [key] for key, place in table.items()}


def test_free_keys_do_not_hinder_a_prefix() -> None:
    table = {f"module.h.{i}.w": f"h.{i}.w" for i in range(3)}
    naming = Naming(table, ("module.queue", "epoch"), frozenset(table.values()))
    ops = name_ops(naming)
    assert [entry_of(op) for op in ops] == [{"strip_prefix": "module."}]
    assert named(ops, naming)["module.queue"] == "queue"


def test_a_free_key_which_a_prefix_would_bring_into_the_way_forbids_it() -> None:
    table = {f"module.h.{i}.w": f"h.{i}.w" for i in range(3)}
    naming = Naming(table, ("module.queue", "queue"), frozenset(table.values()))
    found = named(name_ops(naming), naming)
    assert {key: found[key] for key in table} == table
    assert len(set(found.values())) == 5


@pytest.mark.parametrize(
    ("op", "size"),
    [
        (StripPrefix("module."), 1),
        (StripPrefix(("module.", "model.")), 2),
        (AddPrefix("backbone."), 1),
        (AddPrefix("backbone.", ("a.**", "b.**")), 2),
        (Rename({"a": "b", "c": "d"}), 2),
        (Replace({"a": "b", "c": "d", "e": ""}), 3),
        (AlignNames(("module.",), ("net",)), 2),
    ],
)
def test_the_size_of_a_rule_is_what_there_is_to_read(op: NameOp, size: int) -> None:
    assert size_of(op) == size


def test_many_keys_of_one_kind_take_one_pair() -> None:
    table = {f"layers.{i}.mlp.experts.{j}.w1.weight": f"model.layers.{i}.mlp.experts.{j}.gate.weight" for i in range(30) for j in range(60)}
    ops = name_ops(Naming(table, (), frozenset(table.values())))
    assert sum(map(size_of, ops)) == 1


def test_a_late_exception_among_many_keys_is_not_lost() -> None:
    """It stands in no sample at first: only the proof on all names finds it."""
    table = {f"layers.{i}.w": f"blocks.{i}.w" for i in range(3000)}
    table["layers.1777.w"] = "special.w"
    naming = Naming(table, (), frozenset(table.values()))
    ops = name_ops(naming)
    assert named(ops, naming) == table
    assert sum(map(size_of, ops)) == 2


def test_nothing_is_said_of_names_which_stay() -> None:
    table: dict[str, Any] = {"a.w": "a.w", "b.w": "b.w"}
    assert name_ops(Naming(table)) == []
