"""What a tensor is to its module, from the last segment of its key."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["place", "plain_path"]

_ROLES = {
    "weight": "weight",
    "weights": "weight",
    "biases": "bias",
    "kernel": "weight",
    "gamma": "weight",
    "scale": "weight",
    "w": "weight",
    "g": "weight",
    "bias": "bias",
    "beta": "bias",
    "offset": "bias",
    "b": "bias",
    "running_mean": "mean",
    "moving_mean": "mean",
    "mean": "mean",
    "running_var": "var",
    "moving_variance": "var",
    "moving_var": "var",
    "var": "var",
    "num_batches_tracked": "tracked",
}
_AFFIXES = ("weight", "bias")
_REGISTRY = "parametrizations"  # torch.nn.utils.parametrize
_ORIGINALS = {"original": "_orig", "original0": "_g", "original1": "_v"}
_VECTORS = ("_u", "_v")
_WRAPPED = "base_layer"  # peft's name of a layer which has adapters
_LETTERS = {"W_": "weight", "b_": "bias"}  # TransformerLens
_PARTS = {
    "weight_g": "magnitude",  # torch.nn.utils.weight_norm
    "weight_v": "direction",
    "weight_orig": "original",  # torch.nn.utils.spectral_norm, and whatever else computes a weight; its weight_v is a vector
    "weight_u": "left",
}


def place(leaf: str, lone: bool) -> tuple[str, str]:
    """The module within its parent in which a tensor stands, and its role: `in_proj_weight` -> `in_proj`, `weight`.

    lone: whether the parent holds tensors only. An empty module is the parent itself. A name which says no role
    (`class_embedding`, or `gamma` beside layers) is a module of its own, whose one tensor has no role.
    """
    if leaf in _AFFIXES or (lone and leaf in _ROLES):
        return "", _ROLES[leaf]
    if leaf in _PARTS:
        return "", _PARTS[leaf]
    if leaf[:2] in _LETTERS and leaf[2:]:
        return leaf[2:], _LETTERS[leaf[:2]]
    for role in _AFFIXES:
        for stem in (leaf.removesuffix(f"_{role}"), leaf.removeprefix(f"{role}_")):
            if stem != leaf:
                return stem, role
    return leaf, ""


def plain_path(segments: Sequence[str]) -> list[str]:
    """A key's segments as they are without parametrizations and adapters: `conv.parametrizations.weight.original0` -> `conv.weight_g`."""
    segments = [segment for segment in segments if segment != _WRAPPED]
    *parents, registry, name, leaf = ("", "", *segments)
    if registry == _REGISTRY and leaf in _ORIGINALS:
        return [*parents[2:], name + _ORIGINALS[leaf]]
    if parents[-1:] == [_REGISTRY] and leaf in _VECTORS:  # `conv.parametrizations.weight.0._u`
        return [*parents[2:-1], registry + leaf]
    return segments
