"""Heads in another order or number, against the formulas of the field; each with the largest error which is allowed.

transformers is none of the tests' packages: its formulas are written out as they stand there (4.57), with their file.
"""

from typing import Any

import pytest
import torch
from op_samples import bytes_of, spec_of

from ckpt_surgeon.ops.protocol import TensorOp
from ckpt_surgeon.ops.registry import OPS
from ckpt_surgeon.planning import make_plan
from ckpt_surgeon.rules import as_rules
from ckpt_surgeon.spec import Header, TensorSpec

QKV = ["q", "k", "v"]


def op(name: str, **parameters: Any) -> TensorOp:
    made: TensorOp = OPS[name](**parameters)
    return made


def only(made: TensorOp, *tensors: torch.Tensor) -> torch.Tensor:
    (found,) = made.apply(tensors)
    return found


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def permute(w: torch.Tensor, n_heads: int, dim1: int, dim2: int) -> torch.Tensor:
    """transformers, models/llama/convert_llama_weights_to_hf.py, `permute`."""
    return w.view(n_heads, dim1 // n_heads // 2, 2, dim2).transpose(1, 2).reshape(dim1, dim2)


def rope(heads: int, target: str, **parameters: Any) -> TensorOp:
    source = {"half": "interleaved", "interleaved": "half"}[target]
    return op("rope_permute", heads=heads, source_layout=source, target_layout=target, **parameters)


@pytest.mark.parametrize(("heads", "head_dim", "width"), [(1, 2, 3), (4, 8, 16), (8, 16, 128), (3, 6, 1)])
def test_rope_permute_is_the_permute_of_transformers_to_the_bit(heads: int, head_dim: int, width: int) -> None:
    weight = noise(heads * head_dim, width)
    assert torch.equal(only(rope(heads, "half"), weight), permute(weight, heads, heads * head_dim, width))
    bias = noise(heads * head_dim)
    assert torch.equal(only(rope(heads, "half"), bias), permute(bias, heads, heads * head_dim, 1).flatten())


@pytest.mark.parametrize("head_dim", [6, 8, 16])
def test_rope_permute_twice_is_neither_the_weight_nor_its_inverse(head_dim: int) -> None:
    weight = noise(2 * head_dim, 2 * head_dim)
    once = only(rope(2, "half"), weight)
    assert once.shape == weight.shape, "nothing but the rule tells that a square weight was permuted"
    assert not torch.equal(only(rope(2, "half"), once), weight)
    assert torch.equal(only(rope(2, "interleaved"), once), weight)


def turned(x: torch.Tensor, layout: str, angles: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of `[heads, tokens, rows]`, pair by pair; the rows beyond the pairs stay."""
    pairs, out = angles.shape[-1], x.clone()
    for p in range(pairs):
        first, second = (2 * p, 2 * p + 1) if layout == "interleaved" else (p, p + pairs)
        cos, sin = angles[:, p].cos(), angles[:, p].sin()
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out


@pytest.mark.parametrize("rotary_dim", [None, 4])
def test_scores_of_attention_stay_within_1e_12_when_query_and_key_are_permuted_and_turned_the_other_way(rotary_dim: int | None) -> None:
    heads, head_dim, width, tokens = 2, 8, 5, 3
    x, q, k = noise(tokens, width), noise(heads * head_dim, width, seed=1), noise(heads * head_dim, width, seed=2)
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] * noise(1, (rotary_dim or head_dim) // 2, seed=3)

    def scores(query: torch.Tensor, key: torch.Tensor, layout: str) -> torch.Tensor:
        split = [(x @ weight.T).view(tokens, heads, head_dim).transpose(0, 1) for weight in (query, key)]
        first, second = (turned(each, layout, angles) for each in split)
        return first @ second.transpose(1, 2)

    made = rope(heads, "half", rotary_dim=rotary_dim)
    before = scores(q, k, "interleaved")
    assert (scores(only(made, q), only(made, k), "half") - before).abs().max() < 1e-12
    assert (scores(only(made, q), k, "half") - before).abs().max() > 1e-3, "one of the two alone changes the model"


def repeat_kv(hidden_states: torch.Tensor, n_rep: int) -> torch.Tensor:
    """transformers, models/llama/modeling_llama.py, `repeat_kv`, on `[batch, kv_heads, tokens, head_dim]`."""
    batch, kv_heads, tokens, head_dim = hidden_states.shape
    hidden_states = hidden_states[:, :, None, :, :].expand(batch, kv_heads, n_rep, tokens, head_dim)
    return hidden_states.reshape(batch, kv_heads * n_rep, tokens, head_dim)


def test_gqa_to_mha_gives_the_keys_which_repeat_kv_gives_within_1e_12() -> None:
    kv_heads, heads, head_dim, width, tokens = 2, 6, 4, 5, 3
    x, k = noise(tokens, width), noise(kv_heads * head_dim, width, seed=1)
    few = repeat_kv((x @ k.T).view(1, tokens, kv_heads, head_dim).transpose(1, 2), heads // kv_heads)
    many = only(op("gqa_to_mha", heads=heads, kv_heads=kv_heads), k)
    assert ((x @ many.T).view(1, tokens, heads, head_dim).transpose(1, 2) - few).abs().max() < 1e-12
    assert torch.equal(many.view(heads, head_dim, width), k.view(kv_heads, head_dim, width).repeat_interleave(heads // kv_heads, 0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_mha_to_gqa_is_the_mean_of_each_group_computed_in_float32_within_one_rounding(dtype: torch.dtype) -> None:
    weight = noise(12 * 4, 5).to(dtype)
    wide = weight.to(torch.promote_types(dtype, torch.float32)).view(4, 3, 4, 5)
    wanted = torch.stack([(wide[g, 0] + wide[g, 1] + wide[g, 2]) / 3 for g in range(4)]).reshape(16, 5).to(dtype)
    assert (only(op("mha_to_gqa", heads=12, kv_heads=4), weight) - wanted).abs().max() <= torch.finfo(dtype).eps


def test_repeated_heads_have_the_heads_as_their_mean() -> None:
    weight = noise(8, 5).float()
    many = only(op("gqa_to_mha", heads=8, kv_heads=2), weight)
    assert torch.equal(only(op("mha_to_gqa", heads=8, kv_heads=2), many), weight)


PACKINGS = [
    # name, how the reference takes query, key and value apart, groups, shares
    ("BLOOM: modeling_bloom.py, _reshape", lambda w: w.view(4, 3, 2, 5).unbind(1), 4, None),
    (
        "GPT-NeoX: modeling_gpt_neox.py, chunk(3) of each head's rows",
        lambda w: [x.flatten(1, 2) for x in w.view(4, 1, 6, 5).split(2, 2)],
        4,
        None,
    ),
    ("Megatron-LM 1.0: convert_megatron_gpt2_checkpoint.py", lambda w: w.view(4, 2, 3, 5).permute(2, 0, 1, 3).unbind(0), 8, None),
    (
        "InternLM2: modeling_internlm2.py, wqkv",
        lambda w: [w.view(2, 6, 2, 5)[:, :-2], w.view(2, 6, 2, 5)[:, -2], w.view(2, 6, 2, 5)[:, -1]],
        2,
        [4, 1, 1],
    ),
]


@pytest.mark.parametrize(("reference", "groups", "shares"), [case[1:] for case in PACKINGS], ids=[case[0] for case in PACKINGS])
def test_packed_projections_come_apart_as_their_models_take_them_apart_to_the_bit(reference: Any, groups: int, shares: Any) -> None:
    packed = noise(24, 5)
    parts = op("deinterleave", groups=groups, sizes=shares).bind(3, None).apply((packed,))
    assert all(torch.equal(part, wanted.reshape(-1, 5)) for part, wanted in zip(parts, reference(packed), strict=True))
    assert torch.equal(only(op("interleave", groups=groups), *parts), packed)


def test_a_split_of_what_is_packed_head_by_head_gives_the_same_shapes_and_other_rows() -> None:
    packed = noise(24, 5)
    apart = op("deinterleave", groups=4).bind(3, None).apply((packed,))
    cut = op("split").bind(3, None).apply((packed,))
    assert list(map(spec_of, apart)) == list(map(spec_of, cut))
    assert not any(torch.equal(first, second) for first, second in zip(apart, cut, strict=True))


def header(**shapes: tuple[int, ...]) -> Header:
    return Header({key: TensorSpec.of("float32", *shape) for key, shape in shapes.items()})


def test_a_permutation_which_keeps_key_and_shape_is_no_rule_without_effect() -> None:
    """Its bytes are runs, but in another order: a plan which took runs for `nothing to do` would drop it."""
    rules = as_rules([{"rope_permute": {"match": "q", "heads": 2, "source_layout": "interleaved", "target_layout": "half"}}])
    plan = make_plan(rules, header(q=(16, 4096)), None)
    assert plan.outcome.adapted == ("q",)


RUNS = [
    (op("interleave", groups=8), [(64, 4096)] * 3, 24),
    (op("deinterleave", groups=8, sizes=(4, 1, 1)), [(96, 4096)], 8),
    (op("rope_permute", heads=2, source_layout="interleaved", target_layout="half"), [(256, 4096)], 255),
    (op("rope_permute", heads=2, source_layout="interleaved", target_layout="half"), [(256, 4)], None),
    (op("rope_permute", heads=2, source_layout="interleaved", target_layout="half"), [(10_000, 4096)], None),
    (op("gqa_to_mha", heads=8, kv_heads=2), [(8, 4096)], 7),
    (op("take", indices=("0-3", "4-7", 9)), [(10, 4096)], 2),
    (op("slice", start=2), [(10, 4096)], 1),
    (op("slice", dim=1, start=2), [(10, 4096)], None),
    (op("slice", start=0, step=2), [(2**40, 1)], None),
    (op("rope_permute", heads=1, source_layout="interleaved", target_layout="half"), [(2**40, 0)], 0),
]


@pytest.mark.parametrize(("made", "shapes", "runs"), RUNS, ids=[f"{made.name} of {shapes}" for made, shapes, _ in RUNS])
def test_few_or_long_runs_are_moved_and_many_short_ones_computed(made: TensorOp, shapes: list[tuple[int, ...]], runs: int | None) -> None:
    found = made.spans(tuple(TensorSpec.of("float32", *shape) for shape in shapes))
    assert (found and len(found[0])) == runs


@pytest.mark.parametrize("names", [QKV, ["one"]])
def test_parts_have_memory_of_their_own(names: list[str]) -> None:
    whole = torch.zeros(12, 3)
    parts = op("deinterleave", groups=2).bind(len(names), None).apply((whole,))
    assert all(part.untyped_storage().nbytes() == len(bytes_of(part)) for part in parts)
    assert len({part.untyped_storage().data_ptr() for part in (whole, *parts)}) == len(parts) + 1
