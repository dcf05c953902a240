"""Four conversions by rules files, held against what the models compute, and undone bit for bit."""

from __future__ import annotations

from pathlib import Path

import models
import torch

import ckpt_surgeon as surgeon

HERE = Path(__file__).resolve().parent


def there_and_back(name: str, table: models.Table, there: str, back: str) -> models.Table:
    """The converted table, after a look at whether the way back gives the same bytes under the same names."""
    converted = surgeon.remap(table, HERE / there)
    returned = surgeon.remap(converted, HERE / back)
    same = returned.keys() == table.keys() and all(torch.equal(returned[key], table[key]) for key in table)
    print(f"{name}: {len(table)} tensors -> {len(converted)} -> {len(returned)}, bit for bit the same: {same}")
    return dict(converted)


def main() -> None:
    torch.manual_seed(0)
    llama, x = models.llama(), torch.randn(6, models.DIM)
    converted = there_and_back("llama", llama, "meta_to_hf.yaml", "hf_to_meta.yaml")
    scores = models.meta_scores(llama, x)
    print("  attention attends alike:", torch.allclose(scores, models.transformers_scores(converted, x), rtol=1e-4, atol=1e-3))
    renamed_only = {f"model.layers.0.self_attn.{name}_proj.weight": llama[f"layers.0.attention.w{name}.weight"] for name in "qk"}
    print("  and would not without rope_permute:", not torch.allclose(scores, models.transformers_scores(renamed_only, x), atol=1.0))

    gpt2 = models.gpt2()
    converted = there_and_back("gpt-2", gpt2, "gpt2_linear.yaml", "gpt2_linear.yaml")
    conv1d = x @ gpt2["h.0.attn.c_proj.weight"] + gpt2["h.0.attn.c_proj.bias"]
    linear = torch.nn.functional.linear(x, converted["h.0.attn.c_proj.weight"], converted["h.0.attn.c_proj.bias"])
    print("  a linear layer answers alike:", torch.allclose(conv1d, linear, atol=1e-5))

    clip = models.clip()
    converted = there_and_back("clip", clip, "clip_to_hf.yaml", "clip_from_hf.yaml")
    parts = [converted[f"text_model.encoder.layers.0.self_attn.{x}_proj.weight"] for x in "qkv"]
    print("  query, key and value come apart:", torch.equal(torch.cat(parts), clip["transformer.resblocks.0.attn.in_proj_weight"]))

    mixtral = models.mixtral()
    converted = there_and_back("mixtral", mixtral, "experts_stacked.yaml", "experts_apart.yaml")
    for key, tensor in converted.items():
        print(f"  {key} {list(tensor.shape)}")


if __name__ == "__main__":
    main()
