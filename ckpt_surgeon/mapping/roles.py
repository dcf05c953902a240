"""What a tensor is to its module, from the last segment of its key."""

from __future__ import annotations

__all__ = ["place"]

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


def place(leaf: str, lone: bool) -> tuple[str, str]:
    """The module within its parent in which a tensor stands, and its role: `in_proj_weight` -> `in_proj`, `weight`.

    lone: whether the parent holds tensors only. An empty module is the parent itself. A name which says no role
    (`class_embedding`, or `gamma` beside layers) is a module of its own, whose one tensor has no role.
    """
    if leaf in _AFFIXES or (lone and leaf in _ROLES):
        return "", _ROLES[leaf]
    for role in _AFFIXES:
        for stem in (leaf.removesuffix(f"_{role}"), leaf.removeprefix(f"{role}_")):
            if stem != leaf:
                return stem, role
    return leaf, ""
