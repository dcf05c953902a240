"""Words of the field for the same thing. Names are evidence only: whatever shapes and structure settle, they don't overrule."""

from __future__ import annotations

__all__ = ["FAINT", "PHRASES", "RELATED", "TWINS", "WORDS"]

_WORDS = {
    "norm": "ln bn gn norm norms normalization layernorm layrnorm batchnorm groupnorm rmsnorm",
    "conv": "conv convs convolution convolutional",
    "embed": "emb embed embeds embedding embeddings embedder",
    "token": "tok token tokens word words vocab",
    "pos": "pos position positions positional",
    "class": "cls class",
    "attn": "attn attention mha selfattention selfattn attentions",
    "mlp": "mlp ffn ff feedforward",
    "q": "q query queries wq",
    "k": "k key keys wk",
    "v": "v value values wv",
    "qkv": "qkv wqkv",
    "out": "o out output wo",
    "head": "head heads classifier logits",
    "linear": "fc linear lin dense",
    "proj": "proj projection",
    "shortcut": "shortcut skip nin",
    "downsample": "downsample downsampling downsampler downsamplers",
    "upsample": "upsample upsampling upsampler upsamplers upscale upscaling",
    "scale": "gamma scale ls lambda",
    "vision": "visual vision image img",
    "text": "text txt language",
    "encoder": "enc encoder",
    "decoder": "dec decoder",
    "dw": "dw depthwise",
    "pw": "pw pointwise",
    "gate": "gate router gating",
    "patch": "patch patches",
    "reduce": "reduce reduction squeeze",
    "rel": "rel relative",
    "block": "block blocks layer layers resblock resblocks resnets stage stages h",
}
WORDS = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}

# Runs of meanings -> the meanings which take their place; the longest run first.
PHRASES: tuple[tuple[str, str], ...] = tuple(
    sorted(
        {
            "in proj": "qkv",
            "c attn": "qkv",
            "q k v": "qkv",
            "feed forward": "mlp",
            "dwconv": "dw conv",
            "pwconv": "pw conv",
            "conv dw": "dw conv",
            "conv pw": "pw conv",
            "wte": "token embed",
            "wpe": "pos embed",
            "layer scale": "scale",
            "layer norm": "norm",
            "block norm": "norm",
            "norm 1": "norm first 1",
            "attn norm": "norm first",
            "norm attn": "norm first",
            "attn out norm": "norm first",
            "norm sa": "norm first",
            "self attn norm": "norm first",
            "input norm": "norm first",
            "norm before": "norm first",
            "before norm": "norm first",
            "norm 2": "norm second 2",
            "mlp norm": "norm second",
            "norm mlp": "norm second",
            "linear qkv norm": "norm first",  # norms which stand in the layer behind them
            "linear 1 norm": "norm second",
            "encoder attn norm": "norm cross",
            "cross attn norm": "norm cross",
            "encoder attn": "cross attn",
            "encoder decoder attn": "cross attn",
            "post attn norm": "norm second",
            "norm after": "norm second",
            "after norm": "norm second",
            "linear 1": "linear first 1",
            "linear 2": "linear second 2",
            "c linear": "linear first",
            "c proj": "out proj",
            "intermediate linear": "mlp linear first",
            "attn out linear": "attn out proj",
            "linear relu linear": "mlp",
            "mlp 0": "mlp linear first 0",
            "mlp 2": "mlp linear second 2",
            "linear 1 g": "gate",
            "linear 1 x": "up",
            "w 1": "gate 1",
            "w 2": "down 2",
            "w 3": "up 3",
            "to out": "out",
            "to q": "q",
            "to k": "k",
            "to v": "v",
            "pre norm": "norm pre",
            "post norm": "norm post",
            "final norm": "norm post",
            "norm final": "norm post",
        }.items(),
        key=lambda pair: (-len(pair[0].split()), pair[0]),
    )
)

# Averages of the weights which a training keeps beside them.
TWINS = frozenset(("ema", "shadow", "averaged", "swa"))

# Words which often, not always, stand for the same thing.
_RELATED = "shortcut downsample, linear proj, head linear, out proj, head out, patch stem, gate first, up second, down second, "
_RELATED += "first in, second out, up in, down out, post 3, a 1, b 2, c 3, downsample proj"
RELATED = frozenset(frozenset(pair.split()) for pair in _RELATED.split(", "))

# Words which nearly every name has, or which wrap a whole model: they tell little.
FAINT = frozenset(
    ("block", "model", "module", "net", "base", "backbone", "transformer", "body", "parameter", "param", "features", "encoder", "to")
)
