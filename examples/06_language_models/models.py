"""The tables of four small models under their real names, and attention as Meta and as transformers compute it."""

from __future__ import annotations

import torch

Table = dict[str, torch.Tensor]
DIM, HEADS, KV_HEADS, HEAD_DIM, HIDDEN, TOKENS = 32, 4, 2, 8, 48, 20


def llama() -> Table:
    """As Meta saves it."""
    table = {"tok_embeddings.weight": torch.randn(TOKENS, DIM), "norm.weight": torch.ones(DIM), "output.weight": torch.randn(TOKENS, DIM)}
    for i in range(2):
        sizes = {"wq": (HEADS * HEAD_DIM, DIM), "wk": (KV_HEADS * HEAD_DIM, DIM), "wv": (KV_HEADS * HEAD_DIM, DIM), "wo": (DIM, DIM)}
        table |= {f"layers.{i}.attention.{name}.weight": torch.randn(size) for name, size in sizes.items()}
        sizes = {"w1": (HIDDEN, DIM), "w2": (DIM, HIDDEN), "w3": (HIDDEN, DIM)}
        table |= {f"layers.{i}.feed_forward.{name}.weight": torch.randn(size) for name, size in sizes.items()}
        table |= {f"layers.{i}.{name}_norm.weight": torch.ones(DIM) for name in ("attention", "ffn")}
    return table


def gpt2() -> Table:
    """As the original and transformers save it: weights are [in, out]."""
    sizes = {"attn.c_attn": (DIM, 3 * DIM), "attn.c_proj": (DIM, DIM), "mlp.c_fc": (DIM, 4 * DIM), "mlp.c_proj": (4 * DIM, DIM)}
    table = {"wte.weight": torch.randn(TOKENS, DIM), "wpe.weight": torch.randn(16, DIM)}
    for i in range(2):
        table |= {f"h.{i}.{name}.weight": torch.randn(size) for name, size in sizes.items()}
        table |= {f"h.{i}.{name}.bias": torch.randn(size[1]) for name, size in sizes.items()}
    return table


def clip() -> Table:
    """The blocks and projections of both towers, as OpenAI saves them."""
    table = {"visual.proj": torch.randn(DIM, 24), "text_projection": torch.randn(DIM, 24)}
    for tower in ("visual.transformer", "transformer"):
        block = f"{tower}.resblocks.0"
        table |= {f"{block}.attn.in_proj_weight": torch.randn(3 * DIM, DIM), f"{block}.attn.in_proj_bias": torch.randn(3 * DIM)}
        table |= {f"{block}.attn.out_proj.weight": torch.randn(DIM, DIM), f"{block}.ln_1.weight": torch.ones(DIM)}
        table |= {f"{block}.mlp.c_fc.weight": torch.randn(4 * DIM, DIM), f"{block}.mlp.c_proj.weight": torch.randn(DIM, 4 * DIM)}
    return table


def mixtral() -> Table:
    """One layer's mixture of experts, each expert for itself."""
    moe = "model.layers.0.block_sparse_moe"
    sizes = {"w1": (HIDDEN, DIM), "w2": (DIM, HIDDEN), "w3": (HIDDEN, DIM)}
    experts = {f"{moe}.experts.{e}.{name}.weight": torch.randn(size) for e in range(4) for name, size in sizes.items()}
    return {f"{moe}.gate.weight": torch.randn(4, DIM), **experts}


def meta_scores(table: Table, x: torch.Tensor) -> torch.Tensor:
    """Attention scores of layer 0 `[heads, n, n]`: rotary embeddings turn rows 2 i and 2 i + 1 of a head."""
    query, key = (_heads(table[f"layers.0.attention.{name}.weight"], x) for name in ("wq", "wk"))
    turns = torch.polar(torch.ones(len(x), HEAD_DIM // 2), _angles(len(x)))
    query, key = (torch.view_as_real(torch.view_as_complex(each.unflatten(-1, (-1, 2))) * turns).flatten(-2) for each in (query, key))
    return query @ key.repeat_interleave(HEADS // KV_HEADS, 0).mT


def transformers_scores(table: Table, x: torch.Tensor) -> torch.Tensor:
    """The same where rows i and i + head_dim / 2 are turned."""
    query, key = (_heads(table[f"model.layers.0.self_attn.{name}_proj.weight"], x) for name in "qk")
    angles = torch.cat([_angles(len(x))] * 2, -1)
    query, key = (each * angles.cos() + _half_turned(each) * angles.sin() for each in (query, key))
    return query @ key.repeat_interleave(HEADS // KV_HEADS, 0).mT


def _heads(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (x @ weight.T).unflatten(-1, (-1, HEAD_DIM)).transpose(0, 1)


def _angles(length: int) -> torch.Tensor:
    return torch.outer(torch.arange(length), 10_000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))


def _half_turned(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)
