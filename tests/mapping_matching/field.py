"""Families of the field, as two libraries name them: small headers, side by side."""

from dataclasses import dataclass

from side_by_side import Pair, side_by_side

__all__ = ["FIELD", "Case"]


@dataclass(frozen=True)
class Case:
    """A pair, and which keys of either side may be asked (a regular expression): wherever the keys stand, or only where in no order."""

    pair: Pair
    asked: str = "(?!)"
    asked_without_order: str = "(?!)"


def _stages(depths: tuple[int, ...], width: int = 16) -> list[dict[str, int]]:
    """Blocks by stage: `s` and `t` count stages from 0 and 1, `j` blocks in a stage, `i` all blocks; `c` wide, from `d`."""
    rows: list[dict[str, int]] = []
    for s, depth in enumerate(depths):
        c = width << s
        rows += [
            {"s": s, "t": s + 1, "j": j, "i": len(rows) + j, "c": c, "d": c if j or not s else c // 2, "f": 4 * c, "g": 3 * c}
            for j in range(depth)
        ]
    return rows


_THREE = [{"i": i} for i in range(3)]

_BERT = """
    bert.embeddings.word_embeddings                    | embeddings.tok                | 1000x64 w
    bert.embeddings.position_embeddings                | embeddings.pos                | 512x64 w
    bert.embeddings.token_type_embeddings              | embeddings.segment            | 2x64 w
    bert.embeddings.LayerNorm                          | embeddings.norm               | 64 wb
    bert.encoder.layer.{i}.attention.self.query        | encoder.layers.{i}.attn.q_proj | 64x64 wb
    bert.encoder.layer.{i}.attention.self.key          | encoder.layers.{i}.attn.k_proj | 64x64 wb
    bert.encoder.layer.{i}.attention.self.value        | encoder.layers.{i}.attn.v_proj | 64x64 wb
    bert.encoder.layer.{i}.attention.output.dense      | encoder.layers.{i}.attn.out_proj | 64x64 wb
    bert.encoder.layer.{i}.attention.output.LayerNorm  | encoder.layers.{i}.attn_norm  | 64 wb
    bert.encoder.layer.{i}.intermediate.dense          | encoder.layers.{i}.mlp.fc1    | 256x64 wb
    bert.encoder.layer.{i}.output.dense                | encoder.layers.{i}.mlp.fc2    | 64x256 wb
    bert.encoder.layer.{i}.output.LayerNorm            | encoder.layers.{i}.mlp_norm   | 64 wb
    bert.pooler.dense                                  | pooler                        | 64x64 wb
"""

_BERT_OLD = """
    bert.embeddings.word_embeddings.weight             | bert.embeddings.word_embeddings.weight   | 1000x64 .
    bert.embeddings.position_embeddings.weight         | bert.embeddings.position_embeddings.weight | 512x64 .
    bert.embeddings.LayerNorm.gamma                    | bert.embeddings.LayerNorm.weight         | 64 .
    bert.embeddings.LayerNorm.beta                     | bert.embeddings.LayerNorm.bias           | 64 .
    bert.encoder.layer.{i}.attention.self.query        | bert.encoder.layer.{i}.attention.self.query | 64x64 wb
    bert.encoder.layer.{i}.attention.self.key          | bert.encoder.layer.{i}.attention.self.key   | 64x64 wb
    bert.encoder.layer.{i}.attention.self.value        | bert.encoder.layer.{i}.attention.self.value | 64x64 wb
    bert.encoder.layer.{i}.attention.output.dense      | bert.encoder.layer.{i}.attention.output.dense | 64x64 wb
    bert.encoder.layer.{i}.attention.output.LayerNorm.gamma | bert.encoder.layer.{i}.attention.output.LayerNorm.weight | 64 .
    bert.encoder.layer.{i}.attention.output.LayerNorm.beta  | bert.encoder.layer.{i}.attention.output.LayerNorm.bias   | 64 .
    bert.encoder.layer.{i}.intermediate.dense          | bert.encoder.layer.{i}.intermediate.dense | 256x64 wb
    bert.encoder.layer.{i}.output.dense                | bert.encoder.layer.{i}.output.dense       | 64x256 wb
    bert.encoder.layer.{i}.output.LayerNorm.gamma      | bert.encoder.layer.{i}.output.LayerNorm.weight | 64 .
    bert.encoder.layer.{i}.output.LayerNorm.beta       | bert.encoder.layer.{i}.output.LayerNorm.bias   | 64 .
"""

_BERT_FUSED = """
    bert.embeddings.word_embeddings                    | encoder.embed.tok              | 1000x64 w
    bert.embeddings.position_embeddings                | encoder.embed.pos              | 512x64 w
    bert.encoder.layer.{i}.attention.self.query + bert.encoder.layer.{i}.attention.self.key \
        + bert.encoder.layer.{i}.attention.self.value | encoder.blocks.{i}.attn.qkv | 64x64 wb
    bert.encoder.layer.{i}.attention.output.dense      | encoder.blocks.{i}.attn.proj   | 64x64 wb
    bert.encoder.layer.{i}.attention.output.LayerNorm  | encoder.blocks.{i}.norm1       | 64 wb
    bert.encoder.layer.{i}.intermediate.dense          | encoder.blocks.{i}.mlp.fc1     | 256x64 wb
    bert.encoder.layer.{i}.output.dense                | encoder.blocks.{i}.mlp.fc2     | 64x256 wb
    bert.encoder.layer.{i}.output.LayerNorm            | encoder.blocks.{i}.norm2       | 64 wb
"""

_GPT2 = """
    transformer.wte                | gpt.tok_embed                  | 1000x64 w
    transformer.wpe                | gpt.pos_embed                  | 128x64 w
    transformer.h.{i}.ln_1         | gpt.layers.{i}.norm1           | 64 wb
    transformer.h.{i}.attn.c_attn.weight | gpt.layers.{i}.attn.in_proj.weight | 64x192 > 192x64 .
    transformer.h.{i}.attn.c_attn.bias   | gpt.layers.{i}.attn.in_proj.bias | 192 .
    transformer.h.{i}.attn.c_proj  | gpt.layers.{i}.attn.out_proj   | 64x64 wb
    transformer.h.{i}.ln_2         | gpt.layers.{i}.norm2           | 64 wb
    transformer.h.{i}.mlp.c_fc.weight   | gpt.layers.{i}.mlp.fc1.weight   | 64x256 > 256x64 .
    transformer.h.{i}.mlp.c_fc.bias     | gpt.layers.{i}.mlp.fc1.bias     | 256 .
    transformer.h.{i}.mlp.c_proj.weight | gpt.layers.{i}.mlp.fc2.weight   | 256x64 > 64x256 .
    transformer.h.{i}.mlp.c_proj.bias   | gpt.layers.{i}.mlp.fc2.bias     | 64 .
    transformer.ln_f               | gpt.norm                       | 64 wb
"""

_VIT = """
    vit.embeddings.cls_token                            | cls_token            | 1x1x64 .
    vit.embeddings.position_embeddings                  | pos_embed            | 1x50x64 .
    vit.embeddings.patch_embeddings.projection          | patch_embed.proj     | 64x3x16x16 wb
    vit.encoder.layer.{i}.layernorm_before              | blocks.{i}.norm1     | 64 wb
    vit.encoder.layer.{i}.attention.attention.query + vit.encoder.layer.{i}.attention.attention.key \
        + vit.encoder.layer.{i}.attention.attention.value | blocks.{i}.attn.qkv | 64x64 wb
    vit.encoder.layer.{i}.attention.output.dense        | blocks.{i}.attn.proj | 64x64 wb
    vit.encoder.layer.{i}.layernorm_after               | blocks.{i}.norm2     | 64 wb
    vit.encoder.layer.{i}.intermediate.dense            | blocks.{i}.mlp.fc1   | 256x64 wb
    vit.encoder.layer.{i}.output.dense                  | blocks.{i}.mlp.fc2   | 64x256 wb
    vit.layernorm                                       | norm                 | 64 wb
    classifier                                          | head                 | 10x64 wb
"""

_CLIP = """
    visual.class_embedding                              | vision_model.embeddings.class_embedding      | 64 .
    visual.positional_embedding                         | vision_model.embeddings.position_embedding.weight | 50x64 .
    visual.conv1                                        | vision_model.embeddings.patch_embedding      | 64x3x32x32 w
    visual.ln_pre                                       | vision_model.pre_layrnorm                    | 64 wb
    visual.transformer.resblocks.{i}.ln_1               | vision_model.encoder.layers.{i}.layer_norm1  | 64 wb
    visual.transformer.resblocks.{i}.attn.out_proj      | vision_model.encoder.layers.{i}.self_attn.out_proj | 64x64 wb
    visual.transformer.resblocks.{i}.ln_2               | vision_model.encoder.layers.{i}.layer_norm2  | 64 wb
    visual.transformer.resblocks.{i}.mlp.c_fc           | vision_model.encoder.layers.{i}.mlp.fc1      | 256x64 wb
    visual.transformer.resblocks.{i}.mlp.c_proj         | vision_model.encoder.layers.{i}.mlp.fc2      | 64x256 wb
    visual.ln_post                                      | vision_model.post_layernorm                  | 64 wb
    token_embedding                                     | text_model.embeddings.token_embedding        | 1000x48 w
    positional_embedding                                | text_model.embeddings.position_embedding.weight | 77x48 .
    transformer.resblocks.{i}.ln_1                      | text_model.encoder.layers.{i}.layer_norm1    | 48 wb
    transformer.resblocks.{i}.attn.out_proj             | text_model.encoder.layers.{i}.self_attn.out_proj | 48x48 wb
    transformer.resblocks.{i}.ln_2                      | text_model.encoder.layers.{i}.layer_norm2    | 48 wb
    transformer.resblocks.{i}.mlp.c_fc                  | text_model.encoder.layers.{i}.mlp.fc1        | 192x48 wb
    transformer.resblocks.{i}.mlp.c_proj                | text_model.encoder.layers.{i}.mlp.fc2        | 48x192 wb
    ln_final                                            | text_model.final_layer_norm                  | 48 wb
"""

_LLAMA = """
    tok_embeddings                        | model.embed_tokens                             | 1000x64 w
    layers.{i}.attention.wq               | model.layers.{i}.self_attn.q_proj              | 64x64 w
    layers.{i}.attention.wk               | model.layers.{i}.self_attn.k_proj              | 16x64 w
    layers.{i}.attention.wv               | model.layers.{i}.self_attn.v_proj              | 16x64 w
    layers.{i}.attention.wo               | model.layers.{i}.self_attn.o_proj              | 64x64 w
    layers.{i}.feed_forward.w1            | model.layers.{i}.mlp.gate_proj                 | 176x64 w
    layers.{i}.feed_forward.w2            | model.layers.{i}.mlp.down_proj                 | 64x176 w
    layers.{i}.feed_forward.w3            | model.layers.{i}.mlp.up_proj                   | 176x64 w
    layers.{i}.attention_norm             | model.layers.{i}.input_layernorm               | 64 w
    layers.{i}.ffn_norm                   | model.layers.{i}.post_attention_layernorm      | 64 w
    norm                                  | model.norm                                     | 64 w
    output                                | lm_head                                        | 1000x64 w
"""

_T5 = """
    shared                                              | shared_embed                             | 1000x64 w
    encoder.block.{i}.layer.0.SelfAttention.q           | enc.layers.{i}.attn.q                    | 64x64 w
    encoder.block.{i}.layer.0.SelfAttention.k           | enc.layers.{i}.attn.k                    | 64x64 w
    encoder.block.{i}.layer.0.SelfAttention.v           | enc.layers.{i}.attn.v                    | 64x64 w
    encoder.block.{i}.layer.0.SelfAttention.o           | enc.layers.{i}.attn.o                    | 64x64 w
    encoder.block.{i}.layer.0.layer_norm                | enc.layers.{i}.attn_norm                 | 64 w
    encoder.block.{i}.layer.1.DenseReluDense.wi         | enc.layers.{i}.ffn.wi                    | 256x64 w
    encoder.block.{i}.layer.1.DenseReluDense.wo         | enc.layers.{i}.ffn.wo                    | 64x256 w
    encoder.block.{i}.layer.1.layer_norm                | enc.layers.{i}.ffn_norm                  | 64 w
    decoder.block.{i}.layer.0.SelfAttention.q           | dec.layers.{i}.self_attn.q               | 64x64 w
    decoder.block.{i}.layer.0.SelfAttention.k           | dec.layers.{i}.self_attn.k               | 64x64 w
    decoder.block.{i}.layer.0.SelfAttention.v           | dec.layers.{i}.self_attn.v               | 64x64 w
    decoder.block.{i}.layer.0.SelfAttention.o           | dec.layers.{i}.self_attn.o               | 64x64 w
    decoder.block.{i}.layer.0.layer_norm                | dec.layers.{i}.self_attn_norm            | 64 w
    decoder.block.{i}.layer.1.EncDecAttention.q         | dec.layers.{i}.cross_attn.q              | 64x64 w
    decoder.block.{i}.layer.1.EncDecAttention.k         | dec.layers.{i}.cross_attn.k              | 64x64 w
    decoder.block.{i}.layer.1.EncDecAttention.v         | dec.layers.{i}.cross_attn.v              | 64x64 w
    decoder.block.{i}.layer.1.EncDecAttention.o         | dec.layers.{i}.cross_attn.o              | 64x64 w
    decoder.block.{i}.layer.1.layer_norm                | dec.layers.{i}.cross_attn_norm           | 64 w
    decoder.block.{i}.layer.2.DenseReluDense.wi         | dec.layers.{i}.ffn.wi                    | 256x64 w
    decoder.block.{i}.layer.2.DenseReluDense.wo         | dec.layers.{i}.ffn.wo                    | 64x256 w
    decoder.block.{i}.layer.2.layer_norm                | dec.layers.{i}.ffn_norm                  | 64 w
"""

_DETR = """
    transformer.encoder.layers.{i}.self_attn.out_proj       | model.encoder.layers.{i}.self_attn.out_proj         | 64x64 wb
    transformer.encoder.layers.{i}.linear1                  | model.encoder.layers.{i}.fc1                        | 256x64 wb
    transformer.encoder.layers.{i}.linear2                  | model.encoder.layers.{i}.fc2                        | 64x256 wb
    transformer.encoder.layers.{i}.norm1                    | model.encoder.layers.{i}.self_attn_layer_norm       | 64 wb
    transformer.encoder.layers.{i}.norm2                    | model.encoder.layers.{i}.final_layer_norm           | 64 wb
    transformer.decoder.layers.{i}.self_attn.out_proj       | model.decoder.layers.{i}.self_attn.out_proj         | 64x64 wb
    transformer.decoder.layers.{i}.multihead_attn.out_proj  | model.decoder.layers.{i}.encoder_attn.out_proj      | 64x64 wb
    transformer.decoder.layers.{i}.linear1                  | model.decoder.layers.{i}.fc1                        | 256x64 wb
    transformer.decoder.layers.{i}.linear2                  | model.decoder.layers.{i}.fc2                        | 64x256 wb
    transformer.decoder.layers.{i}.norm1                    | model.decoder.layers.{i}.self_attn_layer_norm       | 64 wb
    transformer.decoder.layers.{i}.norm2                    | model.decoder.layers.{i}.encoder_attn_layer_norm    | 64 wb
    transformer.decoder.layers.{i}.norm3                    | model.decoder.layers.{i}.final_layer_norm           | 64 wb
    transformer.decoder.norm                                | model.decoder.layernorm                             | 64 wb
    query_embed                                             | model.query_position_embeddings                     | 100x64 w
    class_embed                                             | class_labels_classifier                             | 92x64 wb
    bbox_embed.layers.0                                     | bbox_predictor.layers.0                             | 64x64 wb
    bbox_embed.layers.1                                     | bbox_predictor.layers.1                             | 64x64 wb
    bbox_embed.layers.2                                     | bbox_predictor.layers.2                             | 4x64 wb
"""

_SWIN = """
    patch_embed.proj | swin.embeddings.patch_embeddings.projection | 16x3x4x4 wb
    patch_embed.norm | swin.embeddings.norm | 16 wb
    layers.{s}.blocks.{j}.norm1 | swin.encoder.layers.{s}.blocks.{j}.layernorm_before | {c} wb
    layers.{s}.blocks.{j}.attn.relative_position_bias_table \
        | swin.encoder.layers.{s}.blocks.{j}.attention.self.relative_position_bias_table | 49x{t} .
    layers.{s}.blocks.{j}.attn.proj | swin.encoder.layers.{s}.blocks.{j}.attention.output.dense | {c}x{c} wb
    layers.{s}.blocks.{j}.norm2 | swin.encoder.layers.{s}.blocks.{j}.layernorm_after | {c} wb
    layers.{s}.blocks.{j}.mlp.fc1 | swin.encoder.layers.{s}.blocks.{j}.intermediate.dense | {f}x{c} wb
    layers.{s}.blocks.{j}.mlp.fc2 | swin.encoder.layers.{s}.blocks.{j}.output.dense | {c}x{f} wb
    norm | swin.layernorm | 64 wb
    head | classifier | 10x64 wb
"""

_RESNET = """
    conv1                         | stem.conv                     | 16x3x7x7 w
    bn1                           | stem.norm                     | 16 bn
    layer{t}.{j}.conv1            | stages.{s}.blocks.{j}.conv1   | {c}x{d}x3x3 w
    layer{t}.{j}.bn1              | stages.{s}.blocks.{j}.norm1   | {c} bn
    layer{t}.{j}.conv2            | stages.{s}.blocks.{j}.conv2   | {c}x{c}x3x3 w
    layer{t}.{j}.bn2              | stages.{s}.blocks.{j}.norm2   | {c} bn
    fc                            | head                          | 10x64 wb
"""

_RESNET_RUNNING = """
    stem.conv                     | conv1                         | 16x3x7x7 w
    stem.bn                       | bn1                           | 16 bn
    blocks.{i}.conv1             | layer{t}.{j}.conv1            | {c}x{d}x3x3 w
    blocks.{i}.bn1                | layer{t}.{j}.bn1              | {c} bn
    blocks.{i}.conv2             | layer{t}.{j}.conv2            | {c}x{c}x3x3 w
    blocks.{i}.bn2                | layer{t}.{j}.bn2              | {c} bn
    fc                            | fc                            | 10x64 wb
"""

_DENSENET = """
    features.conv0                                           | features.conv0                                           | 16x3x7x7 w
    features.norm0                                           | features.norm0                                           | 16 bn
    features.denseblock{b}.denselayer{n}.norm.1              | features.denseblock{b}.denselayer{n}.norm1               | {c} bn
    features.denseblock{b}.denselayer{n}.conv.1              | features.denseblock{b}.denselayer{n}.conv1               | 32x{c}x1x1 w
    features.denseblock{b}.denselayer{n}.norm.2              | features.denseblock{b}.denselayer{n}.norm2               | 32 bn
    features.denseblock{b}.denselayer{n}.conv.2              | features.denseblock{b}.denselayer{n}.conv2               | 8x32x3x3 w
    classifier                                               | classifier                                               | 10x64 wb
"""

_WEIGHT_NORM = """
    encoder.{i}.conv.weight_g      | enc.layers.{i}.conv.weight_g   | 32x1x1 .
    encoder.{i}.conv.weight_v      | enc.layers.{i}.conv.weight_v   | 32x32x3 .
    encoder.{i}.conv.bias          | enc.layers.{i}.conv.bias       | 32 .
    out                            | head                           | 5x32 wb
"""

_CONVNEXT = """
    downsample_layers.0.0                | stem.0                              | 16x3x4x4 wb
    downsample_layers.0.1                | stem.1                              | 16 wb
    stages.{s}.{j}.gamma                 | stages.{s}.blocks.{j}.gamma         | {c} .
    stages.{s}.{j}.dwconv                | stages.{s}.blocks.{j}.conv_dw       | {c}x1x7x7 wb
    stages.{s}.{j}.norm                  | stages.{s}.blocks.{j}.norm          | {c} wb
    stages.{s}.{j}.pwconv1               | stages.{s}.blocks.{j}.mlp.fc1       | {f}x{c} wb
    stages.{s}.{j}.pwconv2               | stages.{s}.blocks.{j}.mlp.fc2       | {c}x{f} wb
    norm                                 | head.norm                           | 64 wb
    head                                 | head.fc                             | 10x64 wb
"""

_CONVNEXT_HF = """
    stages.{s}.{j}.gamma                 | convnext.encoder.stages.{s}.layers.{j}.layer_scale_parameter  | {c} .
    stages.{s}.{j}.dwconv                | convnext.encoder.stages.{s}.layers.{j}.dwconv                 | {c}x1x7x7 wb
    stages.{s}.{j}.norm                  | convnext.encoder.stages.{s}.layers.{j}.layernorm              | {c} wb
    stages.{s}.{j}.pwconv1               | convnext.encoder.stages.{s}.layers.{j}.pwconv1                | {f}x{c} wb
    stages.{s}.{j}.pwconv2               | convnext.encoder.stages.{s}.layers.{j}.pwconv2                | {c}x{f} wb
    norm                                 | convnext.layernorm                                            | 64 wb
    head                                 | classifier                                                    | 10x64 wb
"""

_EFFICIENTNET = """
    conv_stem                       | features.0.0                    | 16x3x3x3 w
    bn1                             | features.0.1                    | 16 bn
    blocks.{s}.{j}.conv_pw          | features.{t}.{j}.block.0.0      | {f}x{d}x1x1 w
    blocks.{s}.{j}.bn1              | features.{t}.{j}.block.0.1      | {f} bn
    blocks.{s}.{j}.conv_dw          | features.{t}.{j}.block.1.0      | {f}x1x3x3 w
    blocks.{s}.{j}.bn2              | features.{t}.{j}.block.1.1      | {f} bn
    blocks.{s}.{j}.se.conv_reduce   | features.{t}.{j}.block.2.fc1    | 4x{f}x1x1 wb
    blocks.{s}.{j}.se.conv_expand   | features.{t}.{j}.block.2.fc2    | {f}x4x1x1 wb
    blocks.{s}.{j}.conv_pwl         | features.{t}.{j}.block.3.0      | {c}x{f}x1x1 w
    blocks.{s}.{j}.bn3              | features.{t}.{j}.block.3.1      | {c} bn
    classifier                      | classifier.1                    | 10x64 wb
"""

_UNET = """
    input_blocks.0.0                              | conv_in                                        | 16x4x3x3 wb
    input_blocks.{n}.0.in_layers.0                | down_blocks.{b}.resnets.{j}.norm1              | {d} wb
    input_blocks.{n}.0.in_layers.2                | down_blocks.{b}.resnets.{j}.conv1              | {c}x{d}x3x3 wb
    input_blocks.{n}.0.emb_layers.1               | down_blocks.{b}.resnets.{j}.time_emb_proj      | {c}x64 wb
    input_blocks.{n}.0.out_layers.0               | down_blocks.{b}.resnets.{j}.norm2              | {c} wb
    input_blocks.{n}.0.out_layers.3               | down_blocks.{b}.resnets.{j}.conv2              | {c}x{c}x3x3 wb
    time_embed.0                                  | time_embedding.linear_1                        | 64x16 wb
    time_embed.2                                  | time_embedding.linear_2                        | 64x64 wb
    out.0                                         | conv_norm_out                                  | 16 wb
    out.2                                         | conv_out                                       | 4x16x3x3 wb
"""

_LINEAR_CONV = """
    query_conv            | q                    | 32x64x1x1 > 32x64 wb
    value_conv            | v                    | 64x64x1x1 > 64x64 wb
    stem.conv             | stem.conv            | 64x3x7x7 wb
    classifier.conv       | classifier.fc        | 10x64x1x1 > 10x64 wb
"""

_ONES = """
    cls_token             | class_embedding      | 1x1x64 > 64 .
    pos_embed             | positional_embedding | 1x50x64 > 50x64 .
    patch_embed.proj      | conv1                | 64x3x16x16 wb
    blocks.{i}.gamma      | layers.{i}.scale     | 64 > 64x1x1 .
    blocks.{i}.fc         | layers.{i}.fc        | 32x64 wb
"""

_WRAPPED = """
    state.module.backbone.body.conv1                   | encoder.conv1              | 16x3x7x7 w
    state.module.backbone.body.bn1                     | encoder.bn1                | 16 bn
    state.module.backbone.body.layer{t}.{j}.conv1      | encoder.layer{t}.{j}.conv1 | {c}x{d}x3x3 w
    state.module.backbone.body.layer{t}.{j}.bn1        | encoder.layer{t}.{j}.bn1   | {c} bn
    state.module.backbone.body.layer{t}.{j}.conv2      | encoder.layer{t}.{j}.conv2 | {c}x{c}x3x3 w
    state.module.backbone.body.layer{t}.{j}.bn2        | encoder.layer{t}.{j}.bn2   | {c} bn
    state.module.head                                  | -                          | 1000x64 wb
    -                                                  | classifier                 | 10x64 wb
"""

_GATES = """
    embed                        | embed                           | 1000x64 w
    layers.{i}.mlp.gate_proj + layers.{i}.mlp.up_proj | layers.{i}.mlp.gate_up_proj | 160x64 w
    layers.{i}.mlp.down_proj     | layers.{i}.mlp.down_proj        | 64x160 w
    layers.{i}.norm              | layers.{i}.norm                 | 64 wb
"""

_KV = """
    blocks.{i}.attn.q            | layers.{i}.attention.q_proj     | 64x64 wb
    blocks.{i}.attn.kv           | layers.{i}.attention.k_proj + layers.{i}.attention.v_proj | 64x64 wb
    blocks.{i}.attn.proj         | layers.{i}.attention.out_proj   | 64x64 wb
    blocks.{i}.fc                | layers.{i}.fc                   | 128x64 wb
"""

_DENSE_LAYERS = [{"b": b, "n": n, "c": 16 + 8 * (n - 1) + 100 * (b - 1)} for b in (1, 2) for n in (1, 2, 3)]
_UNET_BLOCKS = [
    {"n": 1 + 3 * b + j, "b": b, "j": j, "c": 16 << b, "d": (16 << b) if j or not b else (16 << b) // 2} for b in range(2) for j in range(2)
]

FIELD: dict[str, Case] = {
    "bert, other words": Case(side_by_side(_BERT, *_THREE), asked=r"layers?\.\d.*(_norm|LayerNorm)\."),
    "bert, gamma and beta": Case(side_by_side(_BERT_OLD, *_THREE)),
    "bert, fused": Case(side_by_side(_BERT_FUSED, *_THREE), asked_without_order=r"(blocks|layer)\.\d.*(norm\d|LayerNorm)\."),
    "gpt-2, matrices turned": Case(side_by_side(_GPT2, *_THREE)),
    "vit, fused": Case(side_by_side(_VIT, *_THREE)),
    "clip, two towers": Case(side_by_side(_CLIP, *_THREE)),
    "llama, rotary rows": Case(side_by_side(_LLAMA, *_THREE), asked=r"\.[qk]_proj\.|\.w[qk]\."),
    "t5, encoder and decoder": Case(side_by_side(_T5, *_THREE), asked=r"dec(oder)?\..*_norm\."),
    "detr, norms alike": Case(side_by_side(_DETR, *_THREE), asked=r"layers\..*norm"),
    "swin, tables of positions": Case(side_by_side(_SWIN, *_stages((2, 2, 3)))),
    "resnet, stages from 0": Case(side_by_side(_RESNET, *_stages((2, 3, 2)))),
    "resnet, one running index": Case(side_by_side(_RESNET_RUNNING, *_stages((2, 3, 2)))),
    "densenet, old numbers": Case(side_by_side(_DENSENET, *_DENSE_LAYERS)),
    "weight norm": Case(side_by_side(_WEIGHT_NORM, *_THREE)),
    "convnext, timm": Case(side_by_side(_CONVNEXT, *_stages((2, 2, 3))), asked=r"^(stem|downsample_layers\.0)\."),
    "convnext, transformers": Case(side_by_side(_CONVNEXT_HF, *_stages((2, 2, 3)))),
    "efficientnet": Case(side_by_side(_EFFICIENTNET, *_stages((1, 2, 2)))),
    "unet, a running index": Case(side_by_side(_UNET, *_UNET_BLOCKS)),
    "linear and 1x1": Case(side_by_side(_LINEAR_CONV)),
    "dims of size 1": Case(side_by_side(_ONES, *_THREE)),
    "wrapped, another head": Case(side_by_side(_WRAPPED, *_stages((2, 2, 2)))),
    "gate and up": Case(side_by_side(_GATES, *_THREE)),
    "keys and values": Case(side_by_side(_KV, *_THREE)),
}
