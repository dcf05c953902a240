"""The shapes of the models which are measured: real lists, scaled by their widths. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FLOAT_BYTES", "Decoder", "decoder_of", "resnet_shapes", "tiny_shapes"]

FLOAT_BYTES = 4
Shapes = dict[str, tuple[int, ...]]

_LAYERS = 36  # 36 layers of 12 tensors, embedding, norm and head: 435
_HEADS = 4
_WIDTH_STEP = 2 * _HEADS  # rotary embeddings want an even width in each head
_VOCABULARY_PER_WIDTH = 16  # makes embedding and head 7 % of the model, as in real ones of 3 B
_RESNET_BLOCKS = (3, 4, 6, 3)
_EXPERTS, _EXPERT_WEIGHTS = 1000, 4


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder of Qwen2's layout. width, vocabulary: in elements; key and value are half as wide as the rest."""

    width: int
    vocabulary: int
    layers: int = _LAYERS

    @property
    def shapes(self) -> Shapes:
        """Every tensor, in the order of the model."""
        shapes: Shapes = {"model.embed_tokens.weight": (self.vocabulary, self.width)}
        for i in range(self.layers):
            shapes |= {f"model.layers.{i}.{name}": shape for name, shape in self._layer().items()}
        return {**shapes, "model.norm.weight": (self.width,), "lm_head.weight": (self.vocabulary, self.width)}

    @property
    def configuration(self) -> dict[str, object]:
        """What `config.json` says of such a model, for the peers which ask."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": self.width,
            "intermediate_size": 3 * self.width,
            "num_attention_heads": _HEADS,
            "num_key_value_heads": _HEADS // 2,
            "num_hidden_layers": self.layers,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        }

    def _layer(self) -> Shapes:
        width, narrow, wide = self.width, self.width // 2, 3 * self.width
        return {
            "input_layernorm.weight": (width,),
            "mlp.down_proj.weight": (width, wide),
            "mlp.gate_proj.weight": (wide, width),
            "mlp.up_proj.weight": (wide, width),
            "post_attention_layernorm.weight": (width,),
            "self_attn.k_proj.bias": (narrow,),
            "self_attn.k_proj.weight": (narrow, width),
            "self_attn.o_proj.weight": (width, width),
            "self_attn.q_proj.bias": (width,),
            "self_attn.q_proj.weight": (width, width),
            "self_attn.v_proj.bias": (narrow,),
            "self_attn.v_proj.weight": (narrow, width),
        }


def decoder_of(nbytes: int) -> Decoder:
    """The widest of 435 float32 tensors whose layers fit into `nbytes`; its vocabulary fills up the rest."""
    numel = nbytes // FLOAT_BYTES
    width = _WIDTH_STEP
    while _minimum(width + _WIDTH_STEP) <= numel:
        width += _WIDTH_STEP
    rest = numel - _LAYERS * _per_layer(width) - width
    return Decoder(width, max(rest // (2 * width), 1))


def resnet_shapes(width: int) -> Shapes:
    """The state of a ResNet-50 whose first layer has `width` channels (64 in the real one): 161 parameters and their statistics."""
    shapes = {"conv1.weight": (width, 3, 7, 7), **_norm("bn1", width)}
    channels = width
    for i, blocks in enumerate(_RESNET_BLOCKS):
        inner = width * 2**i
        for j in range(blocks):
            shapes |= _bottleneck(f"layer{i + 1}.{j}", channels, inner)
            channels = 4 * inner
    return {**shapes, "fc.weight": (1000, channels), "fc.bias": (1000,)}


def tiny_shapes(count: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """`count` tensors of two numbers, as a mixture of experts names them: `model.layers.0.mlp.experts.0.w0.weight`."""
    for k in range(count):
        expert, weight = divmod(k, _EXPERT_WEIGHTS)
        layer, expert = divmod(expert, _EXPERTS)
        yield f"model.layers.{layer}.mlp.experts.{expert}.w{weight}.weight", (2,)


def _per_layer(width: int) -> int:
    return 12 * width * width + 4 * width


def _minimum(width: int) -> int:
    return _LAYERS * _per_layer(width) + 2 * _VOCABULARY_PER_WIDTH * width * width + width


def _norm(name: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def _bottleneck(name: str, channels: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for i, shape in enumerate([(inner, channels, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)], 1):
        shapes |= {f"{name}.conv{i}.weight": shape, **_norm(f"{name}.bn{i}", shape[0])}
    if name.endswith(".0"):
        shapes |= {f"{name}.downsample.0.weight": (4 * inner, channels, 1, 1), **_norm(f"{name}.downsample.1", 4 * inner)}
    return shapes
