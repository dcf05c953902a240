"""Small models of which there are two spellings each: what they compute is the same, what their parts are called is not."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Attention",
    "Chain",
    "Encoder",
    "Llama",
    "Mixer",
    "Packed",
    "Turned",
    "Twins",
    "equal_outputs",
    "numbers",
    "part",
    "saved",
    "trained",
]


def part(**children: nn.Module | nn.Parameter) -> nn.Module:
    """A module which holds others, and is never called."""
    module = nn.Module()
    for name, child in children.items():
        setattr(module, name, child)
    return module


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, the same for each seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module with values which no two of its tensors share."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator).abs())
    return module


def equal_outputs(one: nn.Module, other: nn.Module, *inputs: Any) -> bool:
    """Whether both compute the same as they are."""
    with torch.no_grad():
        return torch.allclose(one.eval()(*inputs), other.eval()(*inputs), atol=1e-5)


def saved(weights: Mapping[str, Tensor], path: Path) -> Path:
    """The weights in a file, or in a folder of two shards, as the suffix says: `.pt`, `.safetensors`, `.shards`."""
    if path.suffix == ".pt":
        torch.save(dict(weights), path)
    elif path.suffix == ".safetensors":
        save_file(dict(weights), path)
    else:
        path.mkdir()
        names = {key: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, key in enumerate(weights)}
        for name in set(names.values()):
            save_file({key: value for key, value in weights.items() if names[key] == name}, path / name)
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return path


class Attention(nn.Module):
    """One head; names: of query, key, value and the last projection."""

    def __init__(self, names: Sequence[str], size: int = 8) -> None:
        super().__init__()
        self.names = tuple(names)
        for name in names:
            self.add_module(name, nn.Linear(size, size))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, o = (getattr(self, name) for name in self.names)
        return o(functional.softmax(q(x) @ k(x).transpose(-1, -2), -1) @ v(x))


class Encoder(nn.Module):
    """Blocks of attention and a linear layer behind norms. projections, norms: their names, in the order in which they are used."""

    def __init__(self, blocks: str, projections: Sequence[str], norms: Sequence[str], classes: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.stack, self.norms = blocks, tuple(norms)
        self.stem = nn.Linear(5, 8)
        self.add_module(blocks, nn.ModuleList(self._block(projections) for _ in range(2)))
        self.head = nn.Linear(8, classes)
        self.dropout = nn.Dropout(dropout)

    def _block(self, projections: Sequence[str]) -> nn.Module:
        return part(
            attn=Attention(projections), **{name: nn.LayerNorm(8) for name in self.norms}, up=nn.Linear(8, 16), down=nn.Linear(16, 8)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in getattr(self, self.stack):
            first, second = (getattr(block, name) for name in self.norms)
            x = x + block.attn(first(x))
            x = x + self.dropout(block.down(functional.gelu(block.up(second(x)))))
        return self.head(x.mean(1))


class Mixer(nn.Module):
    """Two layers of one shape, for tokens and for channels. skip: how much of its input the first one keeps."""

    def __init__(self, tokens: str, channels: str, skip: float = 1.0) -> None:
        super().__init__()
        self.names, self.skip = (tokens, channels), skip
        for name in sorted(self.names):
            self.add_module(name, nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        tokens, channels = (getattr(self, name) for name in self.names)
        x = self.skip * x + tokens(x.transpose(1, 2)).transpose(1, 2)
        x = x + channels(functional.gelu(x))
        return {"hidden": (x,), "logits": self.head(x.mean(1))}


class Chain(nn.Module):
    """Layers of one shape one after the other, built in the order of their names. names: in the order in which they run."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        for name in sorted(names):
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = torch.tanh(getattr(self, name)(x)) + x
        return x


class Turned(nn.Module):
    """Two square matrices, as layers, or as parameters which lie the other way."""

    def __init__(self, as_layers: bool) -> None:
        super().__init__()
        self.as_layers = as_layers
        self.stem = nn.Linear(5, 8)
        for name in ("first", "second"):
            plain = part(w=nn.Parameter(torch.randn(8, 8)))
            self.add_module(name, nn.Linear(8, 8, bias=False) if as_layers else plain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for module in (self.first, self.second):
            x = torch.tanh(module(x) if self.as_layers else x @ module.w)
        return x


class Packed(nn.Module):
    """Attention of which one matrix makes query, key and value; by_heads: `[heads, 3, size]`, else `[3, heads, size]`."""

    def __init__(self, name: str, by_heads: bool, heads: int = 2, size: int = 8) -> None:
        super().__init__()
        self.name, self.by_heads, self.heads = name, by_heads, heads
        self.stem = nn.Linear(5, size)
        self.add_module("attention", part(**{name: nn.Linear(size, 3 * size), "dense": nn.Linear(size, size)}))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        order = (self.heads, 3) if self.by_heads else (3, self.heads)
        packed = getattr(self.attention, self.name)(x).unflatten(-1, (*order, -1))
        q, k, v = (each.transpose(1, 2) for each in packed.unbind(-2 if self.by_heads else -3))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return self.attention.dense(mixed)


_META = ("wq", "wk", "wv", "wo", "w1", "w2", "w3", "attention_norm", "ffn_norm", "attention", "feed_forward", "tok_embeddings", "output")
_HF_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "up_proj")
_HF = (*_HF_LAYERS, "input_layernorm", "post_attention_layernorm", "self_attn", "mlp", "embed_tokens", "lm_head")


class Llama(nn.Module):
    """Rotary attention with grouped queries. style: whose names it bears; interleaved: which rows of a head turn together."""

    def __init__(self, style: str, interleaved: bool, size: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.names, self.interleaved, self.heads, self.head = (_META if style == "meta" else _HF), interleaved, heads, size // heads
        self.add_module(self.names[11], nn.Embedding(50, size))
        self.layers = nn.ModuleList(self._layer(size) for _ in range(2))
        self.norm = nn.RMSNorm(size)
        self.add_module(self.names[12], nn.Linear(size, 50, bias=False))

    def _layer(self, size: int) -> nn.Module:
        rows = {**dict.fromkeys(self.names[:4], size), **dict.fromkeys(self.names[1:3], self.head)}
        attention = part(**{name: nn.Linear(size, n, bias=False) for name, n in rows.items()})
        sizes = dict(zip(self.names[4:7], ((size, 64), (64, size), (size, 64)), strict=True))
        mlp = part(**{name: nn.Linear(*pair, bias=False) for name, pair in sizes.items()})
        norms = {name: nn.RMSNorm(size) for name in self.names[7:9]}
        return part(**{self.names[9]: attention, self.names[10]: mlp}, **norms)

    def forward(self, tokens: Tensor) -> Tensor:
        x = getattr(self, self.names[11])(tokens)
        for layer in self.layers:
            attention, mlp = getattr(layer, self.names[9]), getattr(layer, self.names[10])
            q, k, v, o = (getattr(attention, name) for name in self.names[:4])
            gate, down, up = (getattr(mlp, name) for name in self.names[4:7])
            first, second = (getattr(layer, name) for name in self.names[7:9])
            y = first(x)
            mixed = functional.scaled_dot_product_attention(self._turned(q(y)), self._turned(k(y)), self._heads(v(y)), is_causal=True)
            x = x + o(mixed.transpose(1, 2).flatten(-2))
            y = second(x)
            x = x + down(functional.silu(gate(y)) * up(y))
        return getattr(self, self.names[12])(self.norm(x))

    def _heads(self, x: Tensor) -> Tensor:
        x = x.unflatten(-1, (-1, self.head)).transpose(1, 2)
        return x.repeat_interleave(self.heads // x.shape[1], 1)

    def _turned(self, x: Tensor) -> Tensor:
        x = self._heads(x)
        half = self.head // 2
        angles = torch.arange(x.shape[2])[:, None] * 100.0 ** (-torch.arange(half) / half)
        a, b = (x[..., ::2], x[..., 1::2]) if self.interleaved else (x[..., :half], x[..., half:])
        pair = (a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos())
        return torch.stack(pair, -1).flatten(-2) if self.interleaved else torch.cat(pair, -1)


class Twins(nn.Module):
    """Several mixers of which one runs."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, Mixer("tokens", "channels"))

    def forward(self, x: Tensor) -> dict[str, Any]:
        return getattr(self, self.names[0])(x)
