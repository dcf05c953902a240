"""Names in common terms: which are alike, and which only look so."""

import pytest

from ckpt_surgeon.mapping.roles import place
from ckpt_surgeon.mapping.words import likeness, meanings

SAME = [
    ("ln_1", "norm1"),
    ("attention_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("q_proj", "query"),
    ("wk", "key"),
    ("to_v", "v_proj"),
    ("in_proj", "qkv"),
    ("dwconv", "conv_dw"),
    ("depthwise_conv", "dwconv"),
    ("tok_embeddings", "token_embedding"),
    ("feed_forward", "mlp"),
    ("router", "gate"),
    ("bn", "normalization"),
    ("classifier", "head"),
    ("w3", "up_proj"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_words_of_the_field_for_one_thing_are_alike(left: str, right: str) -> None:
    assert likeness(meanings((left,)), meanings((right,))) > 0.5


OTHER = [
    ("q_proj", "query", "key"),
    ("w1", "gate_proj", "up_proj"),
    ("norm1", "attention_norm", "ffn_norm"),
    ("cross_attn_token_to_image", "cross_attn_token_to_image", "cross_attn_image_to_token"),
    ("fc1", "linear1", "linear2"),
    ("projection", "proj", "norm"),
    ("visual", "vision_model", "text_model"),
]


@pytest.mark.parametrize(("name", "nearer", "farther"), OTHER)
def test_the_nearer_name_is_more_alike(name: str, nearer: str, farther: str) -> None:
    words = meanings((name,))
    assert likeness(words, meanings((nearer,))) > likeness(words, meanings((farther,)))


def test_likeness_lies_between_nothing_and_all() -> None:
    assert likeness((), ()) == 0
    assert likeness(("conv",), ("norm",)) == 0
    assert likeness(("conv", "1"), ("conv", "1")) == 1


PLACES = {
    ("weight", True): ("", "weight"),
    ("weight", False): ("", "weight"),
    ("gamma", True): ("", "weight"),
    ("gamma", False): ("gamma", ""),
    ("running_var", True): ("", "var"),
    ("in_proj_weight", False): ("in_proj", "weight"),
    ("in_proj_bias", False): ("in_proj", "bias"),
    ("weight_ih_l0", True): ("ih_l0", "weight"),
    ("class_embedding", False): ("class_embedding", ""),
    ("num_batches_tracked", True): ("", "tracked"),
}


@pytest.mark.parametrize(("leaf", "lone"), PLACES)
def test_a_tensor_has_its_module_and_its_role(leaf: str, lone: bool) -> None:
    assert place(leaf, lone) == PLACES[leaf, lone]
